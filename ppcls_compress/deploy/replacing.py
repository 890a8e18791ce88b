"""Whether an export would take the place of another network's, or of files that nobody knows of here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ppcls_compress.config.load import read_yaml
from ppcls_compress.deploy import formats
from ppcls_compress.deploy.artifact import DESCRIPTION, RECORD, put_back
from ppcls_compress.deploy.kinds import Format
from ppcls_compress.errors import UserError

WAYS_OUT = "name another folder with -o Global.save_inference_dir=FOLDER, or add --overwrite"


def check_all_replaceable(directory: Path, chosen: Sequence[Format], source: str, ways_out: str = WAYS_OUT) -> None:
    """`check_replaceable` for the folders of several formats and of what is written with them.

    Args:
        directory: of all formats.
    """
    kinds = {name: formats.get(name) for kind in chosen for name in (kind.name, *kind.companions)}
    for kind in kinds.values():
        check_replaceable(directory / kind.folder, kind.files, source, ways_out)


def check_replaceable(directory: Path, files: Sequence[str], source: str, ways_out: str = WAYS_OUT) -> None:
    """Find out whether an export to a folder would replace anything but an earlier export of the same weights.

    Whatever else is in the folder is left alone by an export, and does not count. Where a process was killed while it
    put files in their place, the folder is first made what it was before.

    Args:
        directory: of one artifact.
        files: names of its network files.
        source: the weights to be exported; empty for none.
        ways_out: what can be done, for the message.

    Raises:
        UserError: the folder holds an export of other weights, or of another program, or a file of one of the names
            that no description tells of.
    """
    put_back(directory)
    held = _held(directory, files, source)
    if held is not None:
        raise UserError(f"{directory}: holds {held}; {ways_out}")


def _held(directory: Path, files: Sequence[str], source: str) -> str | None:
    path = directory / DESCRIPTION
    if not path.is_file():
        unknown = next((name for name in (DESCRIPTION, *files, RECORD) if (directory / name).exists()), None)
        return None if unknown is None else f"{unknown}, of which no export from here tells"
    try:
        own = read_yaml(path).get("Artifact")
    except UserError:  # damaged: to be replaced
        return None
    if own is None:
        return "an exported model that another program wrote"
    before = str(own.get("source", "")) if isinstance(own, Mapping) else ""
    if not before or (source and Path(before).resolve() == Path(source).resolve()):
        return None
    return f"the export of {before}"
