"""Recognition: how many classes there are, what is evaluated, and whether metrics and loaders are of one mind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppcls_compress.data.datasets import DATASETS
from ppcls_compress.data.options import QueryGallery
from ppcls_compress.declare import at_key
from ppcls_compress.metrics import METRICS

_DEFAULT_METRICS = {"retrieval": [{"Recallk": {"topk": [1, 5]}}, {"mAP": {}}], "adaface": [{"FaceVerification": {}}]}
_COUNTS = ("n_class", "num_classes")


def complete(data: Any) -> Any:
    """What a YAML says, with what follows from it written out: classes of a model without a head, default metrics.

    Anything that is not as it should be is left as it is, for the schema to refuse.
    """
    if not isinstance(data, Mapping):
        return data
    return _with_metrics(_with_classes(dict(data)))


def _with_classes(data: dict[str, Any]) -> dict[str, Any]:
    arch = data.get("Arch")
    if not isinstance(arch, Mapping) or arch.get("name") != "RecModel" or arch.get("Head") or "class_num" in arch:
        return data
    train = data["Loss"].get("Train") if isinstance(data.get("Loss"), Mapping) else None
    terms = train if isinstance(train, list | tuple) else ()
    options = [entry for term in terms if isinstance(term, Mapping) for entry in term.values()]
    found = [entry.get(key) for entry in options if isinstance(entry, Mapping) for key in _COUNTS]
    counts = [count for count in found if type(count) is int]
    return {**data, "Arch": {**arch, "class_num": min(counts)}} if counts else data


def _with_metrics(data: dict[str, Any]) -> dict[str, Any]:
    options, metric = data.get("Global"), data.get("Metric")
    mode = options.get("eval_mode") if isinstance(options, Mapping) else None
    if not isinstance(mode, str) or mode not in _DEFAULT_METRICS:
        return data
    if not isinstance(metric, Mapping | None) or (metric or {}).get("Eval"):
        return data
    return {**data, "Metric": {**(metric or {}), "Eval": _DEFAULT_METRICS[mode]}}


def check_evaluation(config: Any) -> None:
    """Refuse a configuration, as `config.schema.Config` holds it, whose evaluation is of several kinds.

    Raises:
        PydanticCustomError: names the key.
    """
    mode, split = config.Global.eval_mode, config.DataLoader.Eval
    paired = isinstance(split, QueryGallery)
    if split is not None and paired != (mode == "retrieval"):
        wanted = "{Query: {...}, Gallery: {...}}" if mode == "retrieval" else "{dataset: {...}, sampler: {...}}"
        raise at_key("DataLoader.Eval", f"Global.eval_mode is {mode}: expected {wanted}")
    if split is not None and mode == "adaface" and not split.dataset.pairs:
        fitting = ", ".join(name for name in DATASETS if DATASETS.get(name).pairs)
        raise at_key("DataLoader.Eval.dataset.name", f"Global.eval_mode is adaface: expected {fitting}")
    for number, entry in enumerate(config.Metric.Eval):
        _check_metric(f"Metric.Eval.{number}", entry, mode)
    for number, entry in enumerate(config.Metric.Train or ()):
        _check_metric(f"Metric.Train.{number}", entry, "classification")


def _check_metric(key: str, entry: Any, mode: str) -> None:
    if entry.evaluates == mode:
        return
    name = METRICS.name_of(entry)
    fitting = ", ".join(sorted(other for other in METRICS if METRICS.get(other).evaluates == mode))
    if key.startswith("Metric.Train"):
        raise at_key(f"{key}.{name}", f"is measured on a gallery, not in training; choose one of {fitting}")
    raise at_key(f"{key}.{name}", f"Global.eval_mode is {mode}; choose one of {fitting}")
