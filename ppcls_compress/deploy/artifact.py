"""The files of an exported model and how they are described; `staging` is how they take their place.

Every format has its own network files. Beside them in the same folder are

inference.yml   preprocessing, class names, what the network gives, how it was checked, checksums; in PaddleClas' layout
slim.json       the compression record; absent for a dense model
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic
import yaml

from ppcls_compress import io
from ppcls_compress.config.load import explain, read_yaml
from ppcls_compress.data.transforms import Transform, parse_transforms
from ppcls_compress.data.transforms.decoding import DecodeImage
from ppcls_compress.deploy.staging import DESCRIPTION, RECORD, check_writable, put_back, staged, withdraw
from ppcls_compress.errors import UserError, unknown
from ppcls_compress.postprocess import POST_PROCESSES, PostProcess, Topk
from ppcls_compress.postprocess.base import OUTPUTS
from ppcls_compress.slim import record as compression

__all__ = [
    "DESCRIPTION",
    "RECORD",
    "Artifact",
    "Description",
    "check_writable",
    "load",
    "staged",
    "strangers",
    "withdraw",
    "write_description",
]

VERSION = 2
_VALIDATION = ("image_root", "cls_label_path")
FIVE_BEST = Topk(topk=5)
"""What is told where nothing is configured."""


@dataclass(frozen=True)
class Description:
    """What a user of the network has to know.

    Attributes:
        image_shape: (C, H, W) of one input image; the batch is free.
        output: what the network gives for each image: `probabilities` of classes, which add up to 1,
            `label_probabilities` of labels one by one, or `logits`.
        preprocess: from an encoded image to the network's input; empty when it is not known.
        class_names: by class index; None when they are not known.
        post_process: what an answer tells.
        model_name: the backbone.
        params: number of parameters; None when it is not known.
        flops: multiply-adds for one image; None when they are not known.
        format: of the network files, a name in `deploy.formats`.
        parity: what the comparison with the trained model found, as plain JSON; empty when there was none.
        notes: what a user should know: ranges of random images, layers that stay float, and the like.
        speed_only: whether it is good for measuring speed only.
        integer_layers: how many layers have integer weights in the network files; None when it is not known.
        network: a fingerprint of the model's weights, by which exports of one model are known; empty when not taken.
        source: the weights that were exported, as the user named them; empty when there were none.
        validation: `image_root` and `cls_label_path` of the validation images, as the user named them; empty where
            they are not in a plain list.
        setting: in which the format's own runtime is to run it, a name of its `safer` or `rounding` settings; empty for
            the usual one.
    """

    image_shape: tuple[int, int, int]
    output: str = "probabilities"
    preprocess: tuple[Transform, ...] = ()
    class_names: tuple[str, ...] | None = None
    post_process: PostProcess = FIVE_BEST
    model_name: str | None = None
    params: int | None = None
    flops: int | None = None
    format: str = "paddle"
    parity: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    speed_only: bool = False
    integer_layers: int | None = None
    network: str = ""
    source: str = ""
    validation: Mapping[str, str] = field(default_factory=dict)
    setting: str = ""


@dataclass(frozen=True)
class Artifact:
    """A complete exported model on disk.

    Attributes:
        directory: where its files are.
        description: content of inference.yml.
        record: the compression record, `{"version", "steps"}`; no steps for a dense model.
        files: bytes of each file, the description included.
    """

    directory: Path
    description: Description
    record: dict[str, Any]
    files: dict[str, int]

    @property
    def quantized(self) -> bool:
        """Whether the model was quantized, even if the format had to leave its weights in float."""
        return compression.step_of(self.record, "quant") is not None

    @property
    def integers(self) -> bool:
        """Whether weights are stored as integers."""
        layers = self.description.integer_layers
        return self.quantized if layers is None else layers > 0

    @property
    def bytes(self) -> int:
        """Size on disk, all files counted."""
        return sum(self.files.values())


def write_description(folder: Path, description: Description) -> None:
    """Write inference.yml for the files that are in `folder` already; it lists their sizes and checksums."""
    written = {
        path.name: {"bytes": path.stat().st_size, "sha256": io.sha256(path)}
        for path in sorted(folder.iterdir())
        if path.name != DESCRIPTION
    }
    content = {
        "Global": {"model_name": description.model_name},
        "PreProcess": {"transform_ops": _dump_preprocess(description.preprocess)},
        "PostProcess": _dump_postprocess(description),
        "Artifact": {
            "version": VERSION,
            "format": description.format,
            "network": description.network,
            "source": description.source,
            "validation": dict(description.validation),
            "setting": description.setting,
            "image_shape": list(description.image_shape),
            "output": description.output,
            "params": description.params,
            "flops": description.flops,
            "parity": dict(description.parity),
            "notes": list(description.notes),
            "speed_only": description.speed_only,
            "integer_layers": description.integer_layers,
            "files": written,
        },
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
    (folder / DESCRIPTION).write_text(text, encoding="utf-8")


def _dump_preprocess(ops: Sequence[Transform]) -> list[dict[str, Any]]:
    """As in the YAML that users write, defaults left out, for other tools that read this file know fewer options.

    They also take an image decoded to RGB for granted, so that decoding is written only if it is anything else.
    """
    if ops and ops[0] == DecodeImage():
        ops = ops[1:]
    return [{type(op).__name__: op.model_dump(mode="json", exclude_defaults=True) or None} for op in ops]


def _dump_postprocess(description: Description) -> dict[str, dict[str, Any]]:
    """As in PaddleClas' `inference.yml`: options by the name of the post-processing, names of classes beside."""
    options = description.post_process
    found = options.model_dump(mode="json", exclude={"class_id_map_file", "delimiter"})
    if description.class_names is not None:
        found["label_list"] = list(description.class_names)
    return {POST_PROCESSES.name_of(options): found}


def parse_postprocess(content: Mapping[str, Any]) -> tuple[PostProcess, tuple[str, ...] | None]:
    """The post-processing and the names of classes.

    Raises:
        ValueError: there is no such post-processing, or one of its options cannot be.
    """
    ((name, options),) = content.items()
    if name not in POST_PROCESSES:
        raise ValueError(unknown(POST_PROCESSES.kind, name, POST_PROCESSES))
    options = dict(options)
    names = options.pop("label_list", None)
    found = POST_PROCESSES.get(name).model_validate(options)
    return found, None if names is None else tuple(str(name) for name in names)


def load(directory: str | Path) -> Artifact:
    """The artifact in a folder, its files complete and its description valid.

    Raises:
        UserError: a file is missing, cut short or not what it should be; the message names it.
    """
    directory = Path(directory)
    description, files = _described(directory)
    _check_files(directory, files)
    record = compression.empty_record()
    if RECORD in files:
        record = compression.check(io.read_json(directory / RECORD), directory / RECORD)
    sizes = {name: size for name, (size, _) in files.items()}
    return Artifact(directory, description, record, {**sizes, DESCRIPTION: (directory / DESCRIPTION).stat().st_size})


def strangers(directory: Path, places: Mapping[str, Path]) -> list[str]:
    """Lines on artifacts that lie together and are not all of one network, or cannot be told; empty if they are.

    Args:
        directory: of all of them.
        places: folder by format; those without an artifact do not count.
    """
    lines, networks = [], {}
    for name, place in places.items():
        if not (place / DESCRIPTION).is_file():
            continue
        try:
            network = _described(place)[0].network
        except UserError as error:
            lines.append(str(error))
            continue
        if network:
            networks.setdefault(network, []).append(name)
    if len(networks) > 1:
        groups = " and ".join(", ".join(names) for names in networks.values())
        lines.append(f"{directory}: {groups} are of different networks; --format all exports all formats of one")
    return lines


def _described(directory: Path) -> tuple[Description, dict[str, tuple[int, str]]]:
    """The description in a folder, and size and checksum of each file it lists, which may be another one by now."""
    if not directory.is_dir():
        raise UserError(f"{directory}: no such folder; an exported model is a folder with {DESCRIPTION}")
    path = directory / DESCRIPTION
    put_back(directory)
    if not path.is_file():
        raise UserError(f"{directory}: not a complete exported model, {DESCRIPTION} missing; export it again")
    content = read_yaml(path)
    try:
        return _parse(content)
    except pydantic.ValidationError as error:
        (reason, *_) = explain(error, {}, "PreProcess.transform_ops")
        raise UserError(f"{path}: {reason}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"no key {error.args[0]!r}" if isinstance(error, KeyError) else error
        raise UserError(f"{path}: not the description of an exported model: {reason}") from error


def _check_files(directory: Path, files: Mapping[str, tuple[int, str]]) -> None:
    missing = [name for name in files if not (directory / name).is_file()]
    if missing:
        raise UserError(f"{directory}: not a complete exported model, {', '.join(missing)} missing; export it again")
    for name, (size, checksum) in files.items():
        found = (directory / name).stat().st_size
        if found != size:
            raise UserError(f"{directory / name}: {found} bytes, {size} expected; copy or export it again")
        if io.sha256(directory / name) != checksum:
            raise UserError(f"{directory / name}: not the file that was exported; copy or export it again")


def _parse(content: Mapping[str, Any]) -> tuple[Description, dict[str, tuple[int, str]]]:
    own = content["Artifact"]
    if own["version"] != VERSION:
        raise ValueError(f"version {own['version']!r} found, {VERSION} is known here")
    if own["output"] not in OUTPUTS:
        raise ValueError(f"output {own['output']!r} found, allowed: {', '.join(OUTPUTS)}")
    ops = content["PreProcess"]["transform_ops"] or []
    if ops and "DecodeImage" not in ops[0]:
        ops = [{"DecodeImage": None}, *ops]
    post_process, names = parse_postprocess(content["PostProcess"])
    channels, height, width = own["image_shape"]
    files = {str(name): (entry["bytes"], entry["sha256"]) for name, entry in own["files"].items()}
    outside = [name for name in files if Path(name).name != name]
    if outside:
        raise ValueError(f"files: {outside[0]!r} is not a plain file name")
    description = Description(
        image_shape=(channels, height, width),
        output=own["output"],
        preprocess=parse_transforms(ops),
        class_names=names,
        post_process=post_process,
        model_name=content["Global"]["model_name"],
        params=own["params"],
        flops=own["flops"],
        format=own["format"],
        parity=dict(own["parity"]),
        network=str(own.get("network", "")),
        source=str(own.get("source", "")),
        validation={str(key): str(path) for key, path in dict(own.get("validation", {})).items() if key in _VALIDATION},
        setting=str(own.get("setting", "")),
        notes=tuple(own["notes"]),
        speed_only=bool(own.get("speed_only", False)),
        integer_layers=own.get("integer_layers"),
    )
    return description, files
