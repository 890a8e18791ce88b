"""What a recognition model is judged on: queries and a gallery, or pairs of faces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import paddle

from ppcls_compress.config.schema import Config
from ppcls_compress.config.sections import MOST_CLASSES
from ppcls_compress.data import Loader, build_loader
from ppcls_compress.data.faces import read_pairs
from ppcls_compress.engine.evaluate import tell_skipped
from ppcls_compress.engine.faces import verify_faces
from ppcls_compress.engine.retrieval import Predict, retrieve


def classes_of(config: Config, mode: str) -> int:
    """What labels of a split lie below: identities of a gallery need not be among those of training."""
    unbounded = mode == "Eval" and config.Global.eval_mode != "classification"
    return MOST_CLASSES if unbounded else config.Arch.class_num


def judging_loaders(config: Config) -> dict[str, Loader]:
    """The loaders of `DataLoader.Eval` by their keys: one, or queries and gallery as far as these differ."""
    return {
        key: build_loader(
            split, class_num=classes_of(config, "Eval"), seed=config.Global.seed, training=False, where=key
        )
        for key, split in config.DataLoader.Eval.splits("DataLoader.Eval").items()
    }


def recognition_evaluator(config: Config, predict: Predict) -> Callable[[], dict[str, float]]:
    """A function that measures a network, or any function from images to features, as `Global.eval_mode` says.

    A network is put into evaluation mode meanwhile.
    """
    if config.Global.eval_mode == "adaface":
        split = config.DataLoader.Eval
        sets = read_pairs(Path(split.dataset.val_data_path))
        return _in_evaluation_mode(predict, lambda: verify_faces(predict, sets, split.sampler.batch_size))
    loaders, told = list(judging_loaders(config).values()), set()

    def run() -> dict[str, float]:
        gallery = loaders[1] if len(loaders) > 1 else None
        found = retrieve(predict, loaders[0], gallery, config.Metric.Eval, config.Global)
        for loader in loaders:
            tell_skipped(loader, told)
        return found

    return _in_evaluation_mode(predict, run)


def _in_evaluation_mode(predict: Predict, run: Callable[[], dict[str, float]]) -> Callable[[], dict[str, float]]:
    def measure() -> dict[str, float]:
        network = predict if isinstance(predict, paddle.nn.Layer) else None
        was_training = network is not None and network.training
        if network is not None:
            network.eval()
        try:
            return run()
        finally:
            if was_training:
                network.train()

    return measure
