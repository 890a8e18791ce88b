"""Whether an export would take the place of another network's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ppcls_compress.config.load import read_yaml
from ppcls_compress.deploy.artifact import DESCRIPTION
from ppcls_compress.errors import UserError


def check_replaceable(directory: Path, source: str, elsewhere: str = "-o Global.save_inference_dir=FOLDER") -> None:
    """Find out whether an export to a folder would replace what another network was exported to.

    Args:
        directory: of one artifact.
        source: the weights to be exported; empty for none.
        elsewhere: what names another folder, for the message.

    Raises:
        UserError: the folder holds an export of other weights, or of another program.
    """
    path = directory / DESCRIPTION
    if not path.is_file():
        return
    try:
        own = read_yaml(path).get("Artifact")
    except UserError:  # damaged: to be replaced
        return
    if own is None:
        held = "an exported model that another program wrote"
    else:
        before = str(own.get("source", "")) if isinstance(own, Mapping) else ""
        if not before or (source and Path(before).resolve() == Path(source).resolve()):
            return
        held = f"the export of {before}"
    raise UserError(f"{directory}: holds {held}; name another folder with {elsewhere}, or add --overwrite")
