"""Doubts about classes: their number, their numbering, their names."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ppcls_compress.config.schema import Config
from ppcls_compress.engine import assemble
from ppcls_compress.errors import ConfigError, UserError
from ppcls_compress.metrics.tpr_at_fpr import TprAtFpr
from ppcls_compress.outputs import are_indices, identities
from ppcls_compress.postprocess import names


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


def about_labels(config: Config, labels: np.ndarray) -> Iterator[str]:
    """The labels of all training images: int64, classes below `Arch.class_num`, or float32 [N, C] of attributes."""
    if not are_indices(labels):
        yield from _about_attributes(labels)
        return
    used, classes = np.unique(identities(labels)), config.Arch.class_num
    absent = np.setdiff1d(np.arange(classes), used)
    if "class_num" not in config.Arch.model_fields_set and len(absent):
        yield (
            f"Arch.class_num: not given, so the network has {classes} classes; the labels of DataLoader.Train are "
            f"{used[0]} to {used[-1]}: Arch.class_num={used[-1] + 1} would fit"
        )
    elif absent.tolist() == [0]:
        yield (
            f"DataLoader.Train: there is no image of class 0; are its labels counted from 1? They must be from 0, and "
            f"Arch.class_num is their number ({classes - 1}); relabel: True in its dataset does both"
        )
    elif len(absent):
        shown = ", ".join(map(str, absent[:5])) + (", ..." if len(absent) > 5 else "")
        yield f"DataLoader.Train: of {classes} classes (Arch.class_num), {len(absent)} have no image: {shown}"


def _about_attributes(labels: np.ndarray) -> Iterator[str]:
    same = [index for index in range(labels.shape[1]) if not {0, 1} <= set(np.unique(labels[:, index]))]
    if same:
        shown = ", ".join(map(str, same[:5])) + (", ..." if len(same) > 5 else "")
        yield (
            f"DataLoader.Train: of {labels.shape[1]} attributes, {len(same)} are the same in all images: nothing can "
            f"be learned of them: {shown}"
        )


def about_judged(config: Config, labels: np.ndarray) -> Iterator[str]:
    """The labels of all validation images, for metrics that need some of each kind."""
    if not any(isinstance(metric, TprAtFpr) for metric in config.Metric.Eval):
        return
    for found, what in ((labels == 0, "negative images (class 0)"), (labels != 0, "positive images (class 1)")):
        if not found.any():
            yield f"DataLoader.Eval: there are no {what}, without which Metric.Eval's TprAtFpr says nothing"


def about_names(config: Config) -> Iterator[str]:
    """Class names are read when a network is exported, which is late to hear that they do not fit."""
    path = config.Infer.PostProcess.names_file if config.Infer and not config.Arch.gives_features else None
    key = "Infer.PostProcess.class_id_map_file"
    if path and not names.find(path).exists():
        yield f"{key}: {path} does not exist; infer and export_model will need it"
    elif path:
        try:
            assemble.class_names(config)
        except UserError as error:
            yield f"{key}: infer and export_model will refuse it: {error}"
