"""An export that is killed at any point leaves the earlier artifact or its own."""

import os

import pytest

from ppcls_compress.deploy import artifact, staging
from ppcls_compress.errors import UserError

NETWORK, PARAMETERS = NAMES = ("inference.json", "inference.pdiparams")


def put(folder, text):
    """An artifact whose files all tell which it is; the second one has a record too."""
    (folder / NETWORK).write_text(text)
    (folder / PARAMETERS).write_text(f"parameters of {text}")
    if text == "second":
        (folder / staging.RECORD).write_text('{"version": 1, "steps": []}')
    artifact.write_description(folder, artifact.Description((3, 8, 8), network=text))


def killed_at(directory, call):
    """A second export by a process that dies as a killed one does, at the n-th file that takes its place."""
    child = os.fork()
    if child == 0:
        replace, calls = os.replace, []

        def counted(source, target):
            calls.append(source)
            if len(calls) == call:
                os._exit(9)
            replace(source, target)

        os.replace = counted
        with artifact.staged(directory, NAMES) as folder:
            put(folder, "second")
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def files(directory):
    return {path.name: path.read_text() for path in directory.iterdir() if path.name != staging.DESCRIPTION}


FIRST = {NETWORK: "first", PARAMETERS: "parameters of first"}
SECOND = {NETWORK: "second", PARAMETERS: "parameters of second", staging.RECORD: '{"version": 1, "steps": []}'}


@pytest.mark.parametrize("reads", [True, False], ids=["read", "exported to"])
@pytest.mark.parametrize("call", range(1, 9))
def test_whenever_it_is_killed_the_old_artifact_or_the_new_one_is_there(tmp_path, call, reads):
    directory = tmp_path / "artifact"
    with artifact.staged(directory, NAMES) as folder:
        put(folder, "first")
    code = killed_at(directory, call)
    assert code == (9 if call <= 7 else 0)
    if not reads:  # an export that fails brings back what was there
        with pytest.raises(KeyError), artifact.staged(directory, NAMES):
            raise KeyError
    network = artifact.load(directory).description.network
    assert network == ("first" if code else "second")
    if not list(directory.glob(".*")):
        assert files(directory) == (FIRST if network == "first" else SECOND)
    with artifact.staged(directory, NAMES) as folder:
        put(folder, "second")
    assert not list(directory.glob(".*"))
    assert files(directory) == SECOND


@pytest.mark.parametrize(
    "found", [{}, {"notes.txt": "mine", PARAMETERS: "of another program"}], ids=["empty", "not empty"]
)
@pytest.mark.parametrize("call", range(1, 6))
def test_killed_where_no_artifact_was_it_leaves_what_was_there(tmp_path, call, found):
    directory = tmp_path / "artifact"
    directory.mkdir()
    for name, text in found.items():
        (directory / name).write_text(text)
    code = killed_at(directory, call)
    assert code == (9 if call <= (5 if found else 4) else 0)
    staging.put_back(directory)
    assert files(directory) == (found if code else SECOND)


def test_an_export_that_still_runs_is_let_alone(tmp_path):
    directory = tmp_path / "artifact"
    with artifact.staged(directory, NAMES) as folder:
        put(folder, "first")
    with artifact.staged(directory, NAMES) as folder:
        (folder / "earlier").mkdir()
        (directory / staging.DESCRIPTION).rename(folder / "earlier" / staging.DESCRIPTION)
        (folder / "names").write_text("\n".join(NAMES))
        with pytest.raises(UserError, match="missing; export it again"):
            artifact.load(directory)
        (folder / "earlier" / staging.DESCRIPTION).rename(directory / staging.DESCRIPTION)
        (folder / "earlier").rmdir()
        put(folder, "second")


@pytest.mark.parametrize("name", ["../precious", "..", "", "/{}/precious", "a/../../precious"])
def test_names_that_lead_outside_are_passed_over(tmp_path, name):
    (tmp_path / "precious").write_text("kept")
    earlier = tmp_path / "artifact" / ".partial-99999999-x" / "earlier"
    earlier.mkdir(parents=True)
    put(earlier, "first")
    (earlier.parent / "names").write_text("\n".join([name.format(tmp_path), *NAMES]))
    assert artifact.load(tmp_path / "artifact").description.network == "first"
    assert (tmp_path / "precious").read_text() == "kept"
