"""Files of PaddleClas that are no training of one network: what they are, and what runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ppcls_compress.errors import ForeignFileError


@dataclass(frozen=True)
class Kind:
    """A kind of file that is refused.

    Attributes:
        marks: the keys that give it away, of what a file says; empty where it is not of this kind.
        text: what it is, and what does the job.
    """

    marks: Callable[[Mapping[str, Any]], list[str]]
    text: str


def check_ours(data: Mapping[str, Any], source: str) -> None:
    """Refuse a file of one of these kinds.

    Raises:
        ForeignFileError: one line that says what it is, by which keys, and what does the job.
    """
    for kind in _KINDS:
        marks = kind.marks(data)
        if marks:
            raise ForeignFileError(f"{source}: {', '.join(marks)}: {kind.text}")


def _sections(*names: str) -> Callable[[Mapping[str, Any]], list[str]]:
    return lambda data: sorted(set(names).intersection(data))


def _semi_supervised(data: Mapping[str, Any]) -> list[str]:
    found = _sections("SSL", "UnLabelLoss")(data)
    loaders = data.get("DataLoader")
    if isinstance(loaders, Mapping) and "UnLabelTrain" in loaders:
        found.append("DataLoader.UnLabelTrain")
    return [*found, *_modes("fixmatch", "fixmatch_ccssl")(data)]


def _modes(*names: str) -> Callable[[Mapping[str, Any]], list[str]]:
    def marks(data: Mapping[str, Any]) -> list[str]:
        common = data.get("Global")
        mode = common.get("train_mode") if isinstance(common, Mapping) else None
        return [f"Global.train_mode {name}" for name in names if mode == name]

    return marks


_KINDS = (
    Kind(
        _sections("ARCHITECTURE", "LEARNING_RATE", "OPTIMIZER", "TRAIN", "VALID", "TEST"),
        "sections of PaddleClas' files before 2021; they are Arch, Optimizer, DataLoader.Train, DataLoader.Eval and "
        "Global now: start from the file of the same network in today's ppcls/configs",
    ),
    Kind(
        _sections("search_dict", "base_config_file", "distill_config_file", "search_times"),
        "a search over settings, which trains one run after another on several GPUs; tools/search_strategy.py of "
        "PaddleClas does that, and the file that base_config_file names, with the settings found, is trained here",
    ),
    Kind(
        _semi_supervised,
        "semi-supervised training (FixMatch) on images without labels; tools/train.py of PaddleClas does that, and "
        "its weights are compressed here by the file of the network with Global.pretrained_model",
    ),
    Kind(
        _modes("dino"),
        "self-supervised pretraining (DINO) of a student by its own average, without labels; tools/train.py of "
        "PaddleClas does that, and its backbone is compressed here by the file that it is fine-tuned with",
    ),
    Kind(
        _sections("QuantAware", "QuantPost", "TrainConfig", "HyperParameterOptimization"),
        "compression of an exported model by PaddleSlim's auto compression; its AutoCompression does that, and here a "
        "network is compressed by the file that it was trained with",
    ),
    Kind(
        _sections("PreProcess", "RecPreProcess"),
        "settings of PaddleClas' deploy/python, which runs exported models; its predict scripts do that, and here "
        "infer --artifact does",
    ),
)
