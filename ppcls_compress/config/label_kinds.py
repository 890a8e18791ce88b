"""Whether data sets, losses and metrics speak of the same labels: one class for each image, or several attributes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ppcls_compress.data.transforms import BATCH_TRANSFORMS
from ppcls_compress.declare import at_key
from ppcls_compress.losses import LOSSES
from ppcls_compress.losses.distilled_logits import DistillationDMLLoss, DistillationMultiLabelLoss
from ppcls_compress.losses.multilabel import MultiLabelLoss
from ppcls_compress.metrics import METRICS

_WEIGHING = (MultiLabelLoss, DistillationMultiLabelLoss, DistillationDMLLoss)
_NAMES = {
    "classes": "one class for each image (Global.use_multilabel is False)",
    "attributes": "several labels for each image (Global.use_multilabel is True)",
}


def with_defaults(data: Any) -> Any:
    """A plain configuration of several labels with losses and metrics that fit, where it gives none for evaluation."""
    common = data.get("Global") if isinstance(data, dict) else None
    if not isinstance(common, dict) or common.get("use_multilabel") is not True:
        return data
    loss, metric = data.get("Loss"), data.get("Metric") or {}
    if isinstance(loss, dict) and loss.get("Eval") is None:
        data = {**data, "Loss": {**loss, "Eval": ["MultiLabelLoss"]}}
    if isinstance(metric, dict) and metric.get("Eval") is None:
        data = {**data, "Metric": {**metric, "Eval": ["ATTRMetric"]}}
    return data


def check_kinds(config: Any) -> None:
    """Refuse a configuration, as `config.schema.Config` holds it, whose parts are of different kinds of labels.

    Raises:
        PydanticCustomError: names the key.
    """
    kind = "attributes" if config.Global.use_multilabel else "classes"
    for mode in ("Train", "Eval"):
        split = getattr(config.DataLoader, mode)
        if split is not None:
            _check_dataset(split.dataset, kind, f"DataLoader.{mode}.dataset")
    for key, name, entry in _listed(config):
        if entry.labels not in (None, kind):
            raise at_key(key, f"{name} does not fit {_NAMES[kind]}; choose one that does")
    _check_shares(config)
    misfit = config.Infer and config.Infer.PostProcess.misfit(
        config.Arch.class_num, multilabel=config.Global.use_multilabel
    )
    if misfit and not config.Arch.gives_features:
        raise at_key("Infer.PostProcess.name", misfit)


def _check_dataset(dataset: Any, kind: str, where: str) -> None:
    if dataset.labels != kind and kind == "classes":
        raise at_key(
            "Global.use_multilabel", f"must be True, for {where} is {type(dataset).__name__}, whose images have several"
        )
    if dataset.labels != kind:
        raise at_key(
            f"{where}.name",
            f"{type(dataset).__name__} does not fit {_NAMES[kind]}; MultiLabelDataset does, or set use_multilabel to "
            "False",
        )
    if kind == "attributes" and dataset.batch_transform_ops:
        names = ", ".join(BATCH_TRANSFORMS.name_of(op) for op in dataset.batch_transform_ops)
        raise at_key(f"{where}.batch_transform_ops", f"found {names}, which mix one class for each image")


def _listed(config: Any) -> Iterator[tuple[str, str, Any]]:
    """The losses and metrics that a configuration lists: key, name, options."""
    metrics = {"Train": config.Metric.Train or (), "Eval": config.Metric.Eval}
    losses = config.Loss.lists if config.Loss else {}
    for section, registry, lists in (("Loss", LOSSES, losses), ("Metric", METRICS, metrics)):
        for mode, entries in lists.items():
            for number, entry in enumerate(entries):
                name = registry.name_of(entry)
                yield f"{section}.{mode}.{number}.{name}", name, entry


def _check_shares(config: Any) -> None:
    """A loss that weighs labels by their shares gets these from the data set."""
    for mode in ("Train", "Eval"):
        split = getattr(config.DataLoader, mode)
        if config.Loss is None or split is None or getattr(split.dataset, "label_ratio", True):
            continue
        for number, entry in enumerate(getattr(config.Loss, mode)):
            if isinstance(entry, _WEIGHING) and entry.weight_ratio:
                raise at_key(
                    f"Loss.{mode}.{number}.{LOSSES.name_of(entry)}.weight_ratio",
                    f"needs the shares of labels; set DataLoader.{mode}.dataset.label_ratio to True",
                )
