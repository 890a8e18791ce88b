"""What a run can do and a user can hardly want: told before hours of training go into it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppcls_compress import data
from ppcls_compress.config.schema import Config
from ppcls_compress.data.transforms import Transform
from ppcls_compress.data.transforms.values import NormalizeImage
from ppcls_compress.declare.paths import exists
from ppcls_compress.errors import ConfigError, UserError


def check_main_metric(config: Config) -> None:
    """Refuse a metric that is the same for every network to choose the best checkpoint.

    Raises:
        ConfigError: the first value of `Metric.Eval` is one.
    """
    metric, classes = config.Metric.Eval[0], config.Arch.class_num
    if metric.main in metric.certain(classes):
        raise ConfigError(
            f"Metric.Eval.0: its first value, {metric.main}, chooses the best checkpoint, and is 100% for any network "
            f"with {classes} classes; begin with a smaller one, such as topk: [1, 5]"
        )


def doubts(config: Config, labels: np.ndarray) -> list[str]:
    """A line for each thing that is likely a mistake.

    Args:
        labels: of all training images, int64 [N], each below `Arch.class_num`.
    """
    return [*_about_classes(config, np.unique(labels)), *_about_names(config), *about_preparation(config)]


def _about_classes(config: Config, used: np.ndarray) -> list[str]:
    classes = config.Arch.class_num
    if "class_num" not in config.Arch.model_fields_set and len(used) != classes:
        return [
            f"Arch.class_num: not given, so the network has {classes} classes; the labels of DataLoader.Train are "
            f"{used[0]} to {used[-1]}: Arch.class_num={used[-1] + 1} would fit"
        ]
    absent = np.setdiff1d(np.arange(classes), used)
    if not len(absent):
        return []
    if absent.tolist() == [0]:
        return [
            f"DataLoader.Train: there is no image of class 0; are its labels counted from 1? They must be from 0, and "
            f"Arch.class_num is their number ({classes - 1}); relabel: True in its dataset does both"
        ]
    shown = ", ".join(map(str, absent[:5])) + (", ..." if len(absent) > 5 else "")
    return [f"DataLoader.Train: of {classes} classes (Arch.class_num), {len(absent)} have no image: {shown}"]


def _about_names(config: Config) -> list[str]:
    """Class names are read when a network is exported, which is late to hear that they do not fit."""
    path = config.Infer.PostProcess.class_id_map_file if config.Infer else None
    if not path:
        return []
    key = "Infer.PostProcess.class_id_map_file"
    if not exists(path):
        return [f"{key}: {path} does not exist; infer and export_model will need it"]
    try:
        data.read_class_names(path, config.Arch.class_num)
    except UserError as error:
        return [f"{key}: infer and export_model will refuse it: {error}"]
    return []


def about_preparation(config: Config) -> list[str]:
    """A line where an exported network will see other values than the trained one: `Infer.transforms` is its own."""
    mode = "Eval" if config.DataLoader.Eval else "Train"
    split = getattr(config.DataLoader, mode)
    if split is None or config.Infer is None or not config.Infer.transforms:
        return []
    evaluated, inferred = _values(split.dataset.transform_ops), _values(config.Infer.transforms)
    differing = [name for name in evaluated if evaluated[name] != inferred[name]]
    if not differing:
        return []
    return [
        f"Infer.transforms: differs from DataLoader.{mode}.dataset.transform_ops in {', '.join(differing)}; infer and "
        "exported networks will see other values than the network was trained and evaluated on"
    ]


def _values(ops: Sequence[Transform]) -> dict[str, object]:
    """What a list of transforms does to the values of an image, whatever it does to its size."""
    decode = ops[0]
    normalize = [op for op in ops if isinstance(op, NormalizeImage)]
    return {
        "colours (DecodeImage)": "grey"
        if decode.channels == 1
        else ("red first" if decode.red_first else "blue first"),
        "EXIF orientation (DecodeImage)": decode.exif_orientation,
        "NormalizeImage": [op.numbers(decode.channels) for op in normalize],
    }
