"""The files of an exported model, how they are described, and how they take their place: all of them or none.

inference.json        the network, a PIR program
inference.pdiparams   its parameters
inference.yml         preprocessing, class names, and what the network gives; in PaddleClas' layout
slim.json             the compression record; absent for a dense model
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
import yaml

from ppcls_compress import io
from ppcls_compress.config.load import read_yaml
from ppcls_compress.config.transforms import DecodeImage, Transform, parse_transforms
from ppcls_compress.errors import UserError
from ppcls_compress.slim import record as compression

NETWORK = "inference.json"
PARAMETERS = "inference.pdiparams"
DESCRIPTION = "inference.yml"
RECORD = "slim.json"
VERSION = 1
_OUTPUTS = ("probabilities", "logits")


@dataclass(frozen=True)
class Description:
    """What a user of the network has to know.

    Attributes:
        image_shape: (C, H, W) of one input image; the batch is free.
        output: what the network gives for each image, `probabilities` or `logits`.
        preprocess: from an encoded image to the network's input; empty when it is not known.
        class_names: by class index; None when they are not known.
        topk: how many classes an answer lists.
        model_name: the backbone.
        params: number of parameters; None when it is not known.
        flops: multiply-adds for one image; None when they are not known.
    """

    image_shape: tuple[int, int, int]
    output: str = "probabilities"
    preprocess: tuple[Transform, ...] = ()
    class_names: tuple[str, ...] | None = None
    topk: int = 5
    model_name: str | None = None
    params: int | None = None
    flops: int | None = None


@dataclass(frozen=True)
class Artifact:
    """A complete exported model on disk.

    Attributes:
        directory: where its files are.
        description: content of inference.yml.
        record: the compression record, `{"version", "steps"}`; no steps for a dense model.
    """

    directory: Path
    description: Description
    record: dict[str, Any]

    @property
    def quantized(self) -> bool:
        """Whether weights are stored as integers."""
        return compression.step_of(self.record, "quant") is not None

    def sizes(self) -> dict[str, int]:
        """Bytes of each file."""
        names = (NETWORK, PARAMETERS, DESCRIPTION, RECORD)
        return {name: path.stat().st_size for name in names if (path := self.directory / name).exists()}


def write_description(folder: Path, description: Description) -> None:
    """Write inference.yml for the network files that are in `folder` already; it lists their sizes."""
    written = {name: (folder / name).stat().st_size for name in (NETWORK, PARAMETERS)}
    postprocess: dict[str, Any] = {"topk": description.topk}
    if description.class_names is not None:
        postprocess["label_list"] = list(description.class_names)
    content = {
        "Global": {"model_name": description.model_name},
        "PreProcess": {"transform_ops": _dump_preprocess(description.preprocess)},
        "PostProcess": {"Topk": postprocess},
        "Artifact": {
            "version": VERSION,
            "image_shape": list(description.image_shape),
            "output": description.output,
            "params": description.params,
            "flops": description.flops,
            "bytes": written,
        },
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    (folder / DESCRIPTION).write_text(text, encoding="utf-8")


def _dump_preprocess(ops: Sequence[Transform]) -> list[dict[str, Any]]:
    """As in the YAML that users write, defaults left out, for other tools that read this file know fewer options.

    They also take an image decoded to RGB for granted, so that decoding is written only if it is anything else.
    """
    if ops and ops[0] == DecodeImage():
        ops = ops[1:]
    return [{type(op).__name__: op.model_dump(mode="json", exclude_defaults=True) or None} for op in ops]


def load(directory: str | Path) -> Artifact:
    """The artifact in a folder, its files complete and its description valid.

    Raises:
        UserError: a file is missing, cut short or not what it should be; the message names it.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"{directory}: no such folder; an exported model is a folder with {DESCRIPTION}")
    missing = [name for name in (DESCRIPTION, NETWORK, PARAMETERS) if not (directory / name).is_file()]
    if missing:
        raise UserError(f"{directory}: not a complete exported model, {', '.join(missing)} missing; export it again")
    path = directory / DESCRIPTION
    content = read_yaml(path)
    try:
        description, sizes = _parse(content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not the description of an exported model: {_reason(error)}") from error
    for name, expected in sizes.items():
        found = (directory / name).stat().st_size
        if found != expected:
            raise UserError(f"{directory / name}: {found} bytes, {expected} expected; copy or export it again")
    path = directory / RECORD
    record = compression.check(io.read_json(path), path) if path.exists() else compression.empty_record()
    return Artifact(directory, description, record)


def _parse(content: Mapping[str, Any]) -> tuple[Description, dict[str, int]]:
    own = content["Artifact"]
    if own["version"] != VERSION:
        raise ValueError(f"version {own['version']!r} found, {VERSION} is known here")
    if own["output"] not in _OUTPUTS:
        raise ValueError(f"output {own['output']!r} found, allowed: {', '.join(_OUTPUTS)}")
    ops = content["PreProcess"]["transform_ops"] or []
    if ops and "DecodeImage" not in ops[0]:
        ops = [{"DecodeImage": None}, *ops]
    postprocess = content["PostProcess"]["Topk"]
    names = postprocess.get("label_list")
    channels, height, width = own["image_shape"]
    description = Description(
        image_shape=(channels, height, width),
        output=own["output"],
        preprocess=parse_transforms(ops),
        class_names=None if names is None else tuple(str(name) for name in names),
        topk=postprocess["topk"],
        model_name=content["Global"]["model_name"],
        params=own.get("params"),
        flops=own.get("flops"),
    )
    return description, {name: own["bytes"][name] for name in (NETWORK, PARAMETERS)}


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"no key {error.args[0]!r}"
    if isinstance(error, pydantic.ValidationError):
        first = error.errors()[0]
        return f"PreProcess.transform_ops.{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)


@contextmanager
def staged(directory: str | Path) -> Iterator[Path]:
    """An empty folder for the files of an artifact, which replace those in `directory` when the block succeeds.

    After a failure `directory` holds what it held before. Files that are no part of an artifact are left alone. The
    description is taken away first and put in place last: what has one is complete, even if the process was killed.

    Raises:
        UserError: the folder cannot be written.
    """
    directory = Path(directory)
    existed = directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for leftover in directory.glob(".partial-*"):
            shutil.rmtree(leftover)
        staging = Path(tempfile.mkdtemp(prefix=".partial-", dir=directory))
    except OSError as error:
        raise UserError(f"{directory}: cannot be written: {error.strerror}") from error
    try:
        yield staging
        _replace(staging, directory)
    except OSError as error:
        raise UserError(f"{directory}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if not existed and not any(directory.iterdir()):
            directory.rmdir()


def _replace(staging: Path, directory: Path) -> None:
    earlier = staging / "earlier"
    earlier.mkdir()
    names = (NETWORK, PARAMETERS, RECORD)
    moves = [(directory / name, earlier / name) for name in (DESCRIPTION, *names)]
    moves += [(staging / name, directory / name) for name in (*names, DESCRIPTION)]
    for source, _ in moves:
        if source.parent == staging and source.exists():
            with open(source, "rb") as file:
                os.fsync(file.fileno())
    done = []
    try:
        for source, target in moves:
            if source.exists():
                os.replace(source, target)
                done.append((source, target))
    except OSError:
        for source, target in reversed(done):
            os.replace(target, source)
        raise
