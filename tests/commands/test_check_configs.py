import json
import os
import signal
import time

import pytest
from support.processes import PATIENCE
from support.project import make_project

from ppcls_compress import __version__, cli
from ppcls_compress.commands import check_configs, many
from ppcls_compress.commands.absent import without_absent_weights
from ppcls_compress.commands.many import Outcome
from ppcls_compress.config.load import validate
from ppcls_compress.errors import ConfigError, ForeignFileError, UserError

SEARCH = "search_dict: []\nbase_config_file: x.yaml\n"


def check(capsys, *arguments):
    code = cli.main(["check-configs", *map(str, arguments)])
    told = capsys.readouterr()
    return code, told.out.splitlines(), told.err.splitlines()


@pytest.mark.slow
def test_files_for_inference_and_files_whose_weights_are_not_here_pass(tmp_path, capsys):
    config = make_project(tmp_path / "inference", Loss=None, Optimizer=None)
    code, out, _ = check(capsys, config, "-o", "Arch.pretrained=weights/of/somebody", "-o", "DataLoader={}")
    assert code == 0
    assert out[0].endswith(
        ": for inference alone, not trained; without the weights of Arch.pretrained, which are not here"
    )


def test_weights_that_are_not_here_are_told_by_the_key_of_their_network(tmp_path):
    (tmp_path / "here.pdparams").write_text("")
    models = [
        {"Teacher": {"name": "LeNet", "pretrained": "nowhere"}},
        {"Student": {"name": "LeNet", "pretrained": f"{tmp_path}/here"}},
    ]
    arch = {"name": "DistillationModel", "models": models, "pretrained_list": [None, None]}
    config = validate({"Arch": arch, "Global": {"pretrained_model": "nowhere"}}, source="x")
    config, keys = without_absent_weights(config)
    assert keys == ["Global.pretrained_model", "Arch.models.0.Teacher.pretrained"]
    assert config.Global.pretrained_model is None
    assert config.Arch.together.networks[0].arch.pretrained is False
    assert config.Arch.pretrained == f"{tmp_path}/here"
    recognition = {"name": "RecModel", "Backbone": {"name": "LeNet", "pretrained": "nowhere"}}
    config, keys = without_absent_weights(validate({"Arch": recognition}, source="x"))
    assert keys == ["Arch.Backbone.pretrained"]
    assert config.Arch.family_options["Backbone"]["pretrained"] is False


@pytest.mark.slow
def test_each_file_gets_a_line_and_what_is_known_is_not_run_again(tmp_path, capsys):
    good = make_project(tmp_path / "good")
    bad = make_project(tmp_path / "bad", Loss={"Train": [{"CELos": None}]})
    (tmp_path / "search.yaml").write_text(SEARCH)
    results = tmp_path / "results.json"
    code, out, err = check(capsys, tmp_path, "--json", results, "--workers", 1)
    assert code == 2
    assert err == ["error: 2 of 3 configurations do not pass"]
    by_file = {line.split(": ")[1].split(" (")[0]: line for line in out}
    assert by_file[str(good)].startswith("ok: ")
    assert "unknown loss 'CELos'; did you mean 'CELoss'?" in by_file[str(bad)]
    assert by_file[str(tmp_path / "search.yaml")].startswith("for another tool: ")
    assert out[-1] == "3 configurations: 1 ok, 1 for another tool, 1 failed, 0 crashed"
    assert "good: 1 of 1 pass" in out
    assert not (tmp_path / "good" / "output").exists()

    code, out, _ = check(capsys, tmp_path, "--json", results)
    assert code == 2
    assert out[0] == f"3 results are in {results} already"
    bad.write_text(good.read_text())  # another file now
    os.remove(tmp_path / "search.yaml")
    code, out, err = check(capsys, tmp_path, "--json", results)
    assert (code, err) == (0, [])
    assert out[-1] == "2 configurations: 2 ok, 0 for another tool, 0 failed, 0 crashed"
    assert next(line for line in out if line.startswith("ok: ")).startswith(f"ok: {bad}")


def test_reading_alone_tells_wrong_keys_and_builds_nothing(tmp_path, capsys):
    good = make_project(tmp_path / "good", Arch={"name": "CIFARResNet8", "class_num": 3})
    bad = make_project(tmp_path / "bad", Arch={"name": "CIFARResNet8", "class_nun": 3})
    code, out, err = check(capsys, good, bad, "--read-only")
    assert code == 2
    assert err == ["error: 1 of 2 configurations do not pass"]
    assert any(line.startswith(f"ok: {good}") for line in out)
    assert any("unknown key 'class_nun'; did you mean 'class_num'?" in line for line in out)


def test_results_of_other_overrides_are_not_taken_for_these(tmp_path, capsys):
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"overrides": ["Global.epochs=2"], "results": []}))
    file = tmp_path / "a.yaml"
    file.write_text("{}")
    code, _, err = check(capsys, file, "--json", results)
    assert code == 2
    assert "holds results of -o Global.epochs=2; name another file with --json" in err[0]
    results.write_text("[]")
    assert "does not hold results of check_configs" in check(capsys, file, "--json", results)[2][0]


@pytest.mark.parametrize("entry", [3, {}, {"file": "a.yaml"}, {"status": 1}, {"more": 1}])
def test_results_of_another_form_are_refused(tmp_path, entry):
    known = {"file": "a.yaml", "status": "ok", "reason": "", "seconds": 0.0, "log": "", "sha256": ""}
    entry = {**known, **entry} if isinstance(entry, dict) and "file" not in entry and entry else entry
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"version": __version__, "overrides": [], "results": [known, entry]}))
    with pytest.raises(UserError, match="does not hold results of check_configs"):
        check_configs.Results(str(results), []).check_readable()


def test_results_of_another_version_are_not_taken_for_this_ones(tmp_path):
    results = tmp_path / "results.json"
    check_configs.Results(str(results), []).add(Outcome("a.yaml", "ok"))
    results.write_text(results.read_text().replace(__version__, "0.0.9"))
    with pytest.raises(UserError, match=r"holds results of version 0\.0\.9, this is"):
        check_configs.Results(str(results), []).check_readable()


def test_what_did_not_pass_is_run_again_on_request(tmp_path):
    passed, failed = (tmp_path / name for name in ("a.yaml", "b.yaml"))
    for file in (passed, failed):
        file.write_text("{}")
    kept = check_configs.Results(str(tmp_path / "results.json"), [])
    kept.add(Outcome(str(passed), "ok"))
    kept.add(Outcome(str(failed), "failed", "why"))
    again = check_configs.Results(str(tmp_path / "results.json"), [])
    again.check_readable()
    files = [str(passed), str(failed)]
    assert list(again.known(files, retry=False)) == files
    assert list(again.known(files, retry=True)) == [str(passed)]


def test_patterns_name_files_folders_and_globs(tmp_path):
    for name in ("a.yaml", "sub/b.yml", "sub/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    both = [f"{tmp_path}/a.yaml", f"{tmp_path}/sub/b.yml"]
    assert check_configs.matching([str(tmp_path)]) == both
    assert check_configs.matching([f"{tmp_path}/*.yaml", f"{tmp_path}/a.yaml"]) == both[:1]
    assert check_configs.matching([f"{tmp_path}/**/b.*"]) == both[1:]
    with pytest.raises(ConfigError, match=r"d\*\.yaml: no such file, and no YAML files in it or like it"):
        check_configs.matching([f"{tmp_path}/d*.yaml"])


def test_fewer_run_at_a_time_where_memory_is_short(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    sizes = {"SC_PHYS_PAGES": 10 * 2**18, "SC_PAGE_SIZE": 4096}  # 10 GiB
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    assert check_configs.default_workers() == 2


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["--workers", "0"], "--workers: expected at least 1, found 0"),
        (["--timeout", "0"], "--timeout: expected more than 0 seconds, found 0"),
        (["--timeout", "-3"], "--timeout: expected more than 0 seconds, found -3"),
        (["--timeout", "nan"], "--timeout: expected more than 0 seconds, found nan"),
    ],
)
def test_numbers_that_cannot_be_are_refused(tmp_path, capsys, given, found):
    (tmp_path / "a.yaml").write_text("{}")
    code, out, err = check(capsys, tmp_path, *given)
    assert (code, out, err) == (2, [], [f"error: {found}"])


def _ended(rehearsed, timeout=PATIENCE):
    (outcome,) = many.outcomes(["a.yaml"], [], workers=1, timeout=timeout, check=rehearsed)
    return outcome


def test_an_answer_longer_than_a_pipe_holds_is_read():
    outcome = _ended(lambda file, overrides: "x" * 300_000)
    assert (outcome.status, len(outcome.reason)) == ("ok", 300_000)


def closed_first(file, overrides):
    """As the end of a process: what it has open is closed some time before anybody can ask how it ended."""
    os.closerange(3, 1000)
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_dies_or_hangs_is_told_and_costs_nothing_else():
    died = _ended(lambda file, overrides: os.kill(os.getpid(), signal.SIGSEGV))
    assert (died.status, died.reason) == ("crashed", "the process ended with SIGSEGV")
    closed = _ended(closed_first)
    assert (closed.status, closed.reason) == ("crashed", "the process ended with SIGKILL")
    hung = _ended(lambda file, overrides: signal.pause(), timeout=0.2)
    assert (hung.status, hung.reason) == ("crashed", "stopped after 0 seconds")


def test_an_error_that_is_no_message_keeps_its_traceback():
    def fails(file, overrides):
        print("on the way")
        raise KeyError("key")

    outcome = _ended(fails)
    assert outcome.status == "crashed"
    assert outcome.reason.startswith("KeyError: 'key' (test_check_configs.py:")
    assert "Traceback" in outcome.log


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UserError("one\ntwo"), ("failed", "one; two", "")),
        (ForeignFileError("a search"), ("foreign", "a search", "")),
        (None, ("ok", "", "")),
    ],
)
def test_verdicts(error, expected):
    def run():
        if error:
            raise error
        return ""

    assert many.verdict(run) == expected
