"""Files that describe a compression of an exported model for PaddleSlim's `act`, read as quantization by calibration.

`Global` names the model, `QuantAware` or `QuantPost` bits and operators; `data_dir`, or a reader's file, the images.
What is for training (`Distillation`, `TrainConfig`, PACT) has no part in a calibration, and is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic

from ppcls_compress.config.load import read_yaml
from ppcls_compress.data.transforms import parse_transforms
from ppcls_compress.declare.paths import check_path
from ppcls_compress.deploy.imported.prepare import Preparation, ending_in_channels, parsed_ops
from ppcls_compress.deploy.imported.source import Source, find
from ppcls_compress.errors import ConfigError, shortened
from ppcls_compress.slim.options import QuantOptions

_SECTIONS = ("QuantAware", "QuantPost", "Quantization")
_LAYERS = {
    "conv2d": "Conv2D",
    "depthwise_conv2d": "Conv2D",
    "conv2d_transpose": "Conv2DTranspose",
    "matmul": "Linear",
    "matmul_v2": "Linear",
    "mul": "Linear",
}
_WEIGHTS = {"channel_wise_abs_max": "PerChannelAbsmaxQuantizer", "abs_max": "AbsmaxQuantizer"}
_RANGES = {
    "KL": "KLQuantizer",
    "hist": "HistQuantizer",
    "abs_max": "AbsmaxQuantizer",
    "mse": "MSEQuantizer",
}
_TAKEN = ("weight_bits", "activation_bits", "quantize_op_types", "quantizable_op_type", "weight_quantize_type", "algo")
_IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "scale": "1.0/255.0", "order": ""}


@dataclass(frozen=True)
class Listed:
    """Images and a file with a line `relative/path label` for each."""

    root: Path
    file: Path


@dataclass(frozen=True)
class Job:
    """What a file asks for.

    Attributes:
        source: the model.
        options: of `Slim.quant`, `name: ptq`.
        preparation: how an image is prepared; None where the file says nothing.
        train: images to calibrate on; None where the file names none.
        val: images to evaluate on; None where it names none that are there.
        unused: keys that have no part in a calibration.
    """

    source: Source
    options: QuantOptions
    preparation: Preparation | None = None
    train: Listed | None = None
    val: Listed | None = None
    unused: tuple[str, ...] = field(default=())


def read(path: str | Path, reader: str | Path | None = None) -> Job:
    """The job of a file, and of a `reader`'s with `DataLoader`, if there is one.

    Paths in them are relative to the folder that the command runs in, as they are for `act`.

    Raises:
        ConfigError: a file is none of these, or names what is not there.
    """
    content = read_yaml(path)
    common = content.get("Global")
    if not isinstance(common, dict) or not isinstance(common.get("model_dir"), str):
        raise ConfigError(f"{path}: Global.model_dir: the folder of the exported model is needed")
    name = next((section for section in _SECTIONS if isinstance(content.get(section), dict)), None)
    if name is None:
        raise ConfigError(f"{path}: {' or '.join(_SECTIONS[:2])}: needed, for an exported model is quantized here only")
    check_path(f"{path}: Global.model_dir", common["model_dir"], "folder")
    files = {"graph": common.get("model_filename"), "parameters": common.get("params_filename")}
    for key, file in files.items():
        if file is not None and (not isinstance(file, str) or Path(file).name != file):
            raise ConfigError(
                f"{path}: Global: the name of a file in model_dir is needed, found {shortened(file)} ({key})"
            )
    section = content[name]
    unused = [f"{name}.{key}" for key in section if key not in _TAKEN]
    unused += _operators_of_their_own(section, name)
    unused += [key for key in content if key not in ("Global", name)]
    found = Job(find(common["model_dir"], **files), _options(section, f"{path}: {name}"), unused=tuple(unused))
    return _with_reader(found, reader) if reader is not None else _with_folder(found, common, path)


def _operators_of_their_own(section: Mapping[str, Any], name: str) -> list[str]:
    """Operators that are no layers, and the one kind of convolution that a list leaves out; here both go together."""
    key = "quantize_op_types" if "quantize_op_types" in section else "quantizable_op_type"
    operators = section.get(key)
    if not isinstance(operators, list):
        return []
    found = [f"{name}.{key}: {item}" for item in operators if item not in _LAYERS]
    both = ("conv2d", "depthwise_conv2d")
    if sum(kind in operators for kind in both) == 1:
        found.append(f"{name}.{key} without {next(kind for kind in both if kind not in operators)}")
    return found


def _options(section: Mapping[str, Any], where: str) -> QuantOptions:
    chosen: dict[str, Any] = {"name": "ptq"}
    for key in ("weight_bits", "activation_bits"):
        if section.get(key) is not None:
            chosen[key] = section[key]
    for key, ours, names in (
        ("weight_quantize_type", "weight_quantizer", _WEIGHTS),
        ("algo", "activation_quantizer", _RANGES),
    ):
        if section.get(key) is not None:
            if section[key] not in names:
                told = f"{shortened(section[key])} is not known here, allowed: {', '.join(names)}"
                raise ConfigError(f"{where}.{key}: {told}")
            chosen[ours] = names[section[key]]
    operators = section.get("quantize_op_types", section.get("quantizable_op_type"))
    if operators is not None:
        layers = [_LAYERS[item] for item in operators if item in _LAYERS] if isinstance(operators, list) else []
        if not layers:
            raise ConfigError(f"{where}.quantize_op_types: some of {', '.join(_LAYERS)} are needed")
        chosen["quantizable_layer_type"] = tuple(dict.fromkeys(layers))
    try:
        return QuantOptions(**chosen)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from error


def _with_reader(job: Job, reader: str | Path) -> Job:
    loaders = read_yaml(reader).get("DataLoader")
    if not isinstance(loaders, dict):
        raise ConfigError(f"{reader}: DataLoader: needed, with Train.dataset")
    datasets = {mode: (loaders.get(mode) or {}).get("dataset") for mode in ("Train", "Eval")}
    train = datasets["Train"]
    if not isinstance(train, dict):
        raise ConfigError(f"{reader}: DataLoader.Train.dataset: needed, for it names the images to calibrate on")
    where = f"{reader}: DataLoader.Train.dataset"
    val, mode = datasets["Eval"], "Eval" if isinstance(datasets["Eval"], dict) else "Train"
    ops = parsed_ops(datasets[mode].get("transform_ops") or [], reader, f"DataLoader.{mode}.dataset.transform_ops")
    return Job(
        job.source,
        job.options,
        Preparation(ending_in_channels(ops)) if ops else None,
        _listed(train.get("image_root"), train.get("cls_label_path"), where),
        _listed_there(val.get("image_root"), val.get("cls_label_path")) if isinstance(val, dict) else None,
        job.unused,
    )


def _with_folder(job: Job, common: Mapping[str, Any], path: str | Path) -> Job:
    """With `data_dir`, as PaddleSlim's example for image classification reads it."""
    folder = common.get("data_dir")
    if folder is None:
        return job
    size, short = common.get("img_size", 224), common.get("resize_size", 256)
    ops = [
        {"DecodeImage": None},
        {"ResizeImage": {"resize_short": short}},
        {"CropImage": {"size": size}},
        {"NormalizeImage": _IMAGENET},
        {"ToCHWImage": None},
    ]
    try:
        preparation = Preparation(parse_transforms(ops))
    except pydantic.ValidationError as error:
        raise ConfigError(f"{path}: Global.img_size, resize_size: whole numbers are needed") from error
    train = _listed(folder, f"{folder}/train_list.txt", f"{path}: Global.data_dir")
    return Job(
        job.source,
        job.options,
        preparation,
        train,
        _listed_there(folder, f"{folder}/val_list.txt"),
        job.unused,
    )


def _listed(root: object, file: object, where: str) -> Listed:
    if not isinstance(root, str) or not isinstance(file, str):
        raise ConfigError(f"{where}: image_root and cls_label_path are needed, a folder and a file")
    return Listed(check_path(where, root, "folder"), check_path(where, file, "file"))


def _listed_there(root: object, file: object) -> Listed | None:
    named = isinstance(root, str) and isinstance(file, str)
    return Listed(Path(root), Path(file)) if named and Path(root).is_dir() and Path(file).is_file() else None
