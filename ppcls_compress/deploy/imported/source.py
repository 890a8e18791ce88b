"""Which files a user means by a model: an ONNX file, or a program of Paddle with its parameters."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ppcls_compress import io
from ppcls_compress.deploy.onnx.files import LARGEST
from ppcls_compress.errors import UserError

ONNX, PIR, OLD = ".onnx", ".json", ".pdmodel"
KINDS = {ONNX: "an ONNX model", PIR: "a program of Paddle 3", OLD: "a program of Paddle 2"}
_PARAMETERS = ".pdiparams"
_PREPROCESS = ("inference.yml", "inference.yaml")


@dataclass(frozen=True)
class Source:
    """The files of a model.

    Attributes:
        path: the graph.
        parameters: the file of a program's parameters; None for an ONNX model.
        preprocess: a description that lies beside it; None if there is none.
    """

    path: Path
    parameters: Path | None = None
    preprocess: Path | None = None

    @property
    def kind(self) -> str:
        """The ending of the graph's file, one of `KINDS`."""
        return self.path.suffix.lower()

    def fingerprint(self) -> str:
        """16 hexadecimal digits that are the same for the same files only."""
        files = [self.path] if self.parameters is None else [self.path, self.parameters]
        return hashlib.sha256("".join(map(io.sha256, files)).encode()).hexdigest()[:16]


def find(path: str | Path, *, graph: str | None = None, parameters: str | None = None) -> Source:
    """The files of a model.

    Args:
        path: the file, its name without `.pdmodel` or `.json`, or a folder that holds one model.
        graph: the name of the graph's file in the folder, where it is not to be guessed.
        parameters: the same of the parameters'.

    Raises:
        UserError: there is none, there are several, or a file is empty or too large.
    """
    path = Path(path)
    if path.is_dir():
        file = path / graph if graph else _only(path)
    elif path.is_file():
        file = path
    else:
        file = next((other for kind in KINDS if (other := path.with_name(path.name + kind)).is_file()), path)
    _check_size(file)
    if file.suffix.lower() not in KINDS:
        raise UserError(f"{file}: no model that is read here; allowed: {', '.join(KINDS)}")
    beside = next((other for name in _PREPROCESS if (other := file.with_name(name)).is_file()), None)
    if file.suffix.lower() == ONNX:
        return Source(file, None, beside)
    values = file.with_name(parameters) if parameters else file.with_suffix(_PARAMETERS)
    _check_size(values)
    return Source(file, values, beside)


def _only(folder: Path) -> Path:
    found = sorted(other for other in folder.iterdir() if other.suffix.lower() in KINDS and other.is_file())
    programs = [other for other in found if other.suffix.lower() == ONNX or other.with_suffix(_PARAMETERS).is_file()]
    found = programs or found
    if not found:
        raise UserError(f"{folder}: holds no model; a file {', '.join(f'*{kind}' for kind in KINDS)} is looked for")
    if len(found) > 1:
        raise UserError(f"{folder}: holds {', '.join(other.name for other in found[:5])}; name the file that is meant")
    return found[0]


def _check_size(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    size = path.stat().st_size
    if not size:
        raise UserError(f"{path}: the file is empty")
    if size > LARGEST:
        raise UserError(f"{path}: {size:,} bytes; models of up to {LARGEST:,} are read")
