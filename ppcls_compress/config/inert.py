"""Keys that PaddleClas files carry and that change nothing here: accepted, and said so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ppcls_compress.config import train_modes
from ppcls_compress.config.schema import Config
from ppcls_compress.data.datasets import Dataset
from ppcls_compress.data.transforms import inert_options
from ppcls_compress.optim.optimizers import inert_options as inert_optimizer_options

_GLOBAL = {
    "to_static": "training runs eagerly, which was measured to be as fast",
    "use_dali": "images are decoded by OpenCV or Pillow in worker processes",
    "infer_imgs": "images to infer are those of Infer.infer_imgs",
}
_AMP = {"use_fp16_test": "evaluation computes in float32"}


def inert_keys(config: Config) -> Iterator[str]:
    """One line for each key that is set in vain: its path and the reason."""
    if config.IndexProcess is not None:
        yield "IndexProcess has no effect: PaddleClas' gallery2fc reads it, to put a gallery into a model"
    for key, reason in _GLOBAL.items():
        if getattr(config.Global, key):
            yield f"Global.{key} has no effect: {reason}"
    yield from train_modes.inert_keys(config)
    neck = config.Arch.family_options.get("Neck")
    if isinstance(neck, Mapping) and neck.get("name") == "MetaBNNeck" and neck.get("use_global_stats") is not None:
        yield "Arch.Neck.use_global_stats has no effect: MetaBNNeck counts with those of a batch, as in PaddleClas"
    for key in config.Arch.together.unread if config.Arch.together else ():
        yield f"Arch.{key} has no effect: networks that are trained together have their own"
    if "MLDecoder" in config.model_fields_set and not config.Arch.use_ml_decoder:
        yield "MLDecoder has no effect: Arch.use_ml_decoder is False"
    if config.AMP is not None and config.AMP.use_amp:
        for key, reason in _AMP.items():
            if getattr(config.AMP, key):
                yield f"AMP.{key} has no effect: {reason}"
        if config.AMP.use_promote and config.AMP.level == "O1":
            yield "AMP.use_promote has no effect: at level O1 the operator alone decides its type"
    if config.Optimizer is not None:
        for key, reason in inert_optimizer_options(config.Optimizer):
            yield f"{key} has no effect: {reason}"
    for mode in ("Train", "Eval"):
        loader = getattr(config.DataLoader, mode)
        for where, split in loader.splits(f"DataLoader.{mode}").items() if loader is not None else ():
            yield from _of_dataset(split.dataset, f"{where}.dataset")
    if config.Infer is not None and config.Arch.gives_features and "PostProcess" in config.Infer.model_fields_set:
        yield "Infer.PostProcess has no effect: the network gives features, and inference tells these"
    if config.Infer is not None:
        yield from inert_options(config.Infer.transforms, "Infer.transforms")


def _of_dataset(dataset: Dataset, where: str) -> Iterator[str]:
    for key, reason in dataset.inert.items():
        if key in dataset.model_fields_set:
            yield f"{where}.{key} has no effect: {reason}"
    yield from inert_options(dataset.transform_ops, f"{where}.transform_ops")
