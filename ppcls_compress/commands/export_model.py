"""`export_model`: an artifact that runs without this toolkit, compared with the model before it takes its place."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ppcls_compress.commands.common import add_config_arguments, read_config, require_weights
from ppcls_compress.config.paths import exists

if TYPE_CHECKING:
    import numpy as np
    import paddle

    from ppcls_compress.config.schema import Config
    from ppcls_compress.slim.recipe import Record


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `export_model`."""
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Export `Global.pretrained_model` to `Global.save_inference_dir`.

    Raises:
        UserError: the configuration cannot be used, or the artifact does not agree with the model.
    """
    config = read_config(args)
    require_weights(config)
    from ppcls_compress.engine import assemble
    from ppcls_compress.engine.logs import logging_to

    with logging_to():
        assemble.start(config)
        model, record = assemble.build_model(config)
        images, source = comparison_images(config)
        directory = Path(config.Global.save_inference_dir)
        names = assemble.class_names(config)
        export_checked(config, model, record, directory, images, source=source, class_names=names)


def export_checked(
    config: Config,
    model: paddle.nn.Layer,
    record: Record,
    directory: Path,
    images: np.ndarray,
    *,
    source: str,
    class_names: list[str] | None = None,
) -> None:
    """Write the artifact, and tell what it holds and how far it is from the model on `images` [N, C, H, W].

    Raises:
        UserError: the folder cannot be written, or artifact and model disagree; nothing is left behind.
    """
    from ppcls_compress.deploy.paddle_export import export
    from ppcls_compress.engine import assemble
    from ppcls_compress.engine.logs import logger

    preprocess = config.Infer.transforms if config.Infer else ()
    if not preprocess:
        logger.warning("Infer.transforms: not given, so the artifact will not know how to prepare an image")
    counted = assemble.cost_of(config, record)
    result = export(
        model,
        directory,
        image_shape=config.Global.image_shape,
        record=record,
        softmax=config.Arch.infer_add_softmax,
        preprocess=preprocess,
        class_names=class_names,
        topk=config.Infer.PostProcess.topk if config.Infer else 5,
        model_name=config.Arch.name,
        params=counted.params,
        flops=counted.flops,
        images=images,
    )
    for name, size in result.files.items():
        logger.info("exported: %s, %s bytes", directory / name, f"{size:,}")
    logger.info("compared with the model on %s: %s", source, result.parity)


def latency_of(config: Config) -> Callable[[paddle.nn.Layer], float]:
    """A function that exports a network to a temporary folder and gives its milliseconds for one image, one thread."""

    def measure(model: paddle.nn.Layer) -> float:
        from ppcls_compress.deploy import latency
        from ppcls_compress.deploy.paddle_export import export

        with tempfile.TemporaryDirectory() as folder:
            export(model, folder, image_shape=config.Global.image_shape, softmax=config.Arch.infer_add_softmax)
            return latency.measure({"network": folder}, [1, *config.Global.image_shape])["network"].median_ms

    return measure


def comparison_images(config: Config) -> tuple[np.ndarray, str]:
    """Images to compare on, and what they are: validation images where there are some, else random ones."""
    import itertools

    import numpy as np

    from ppcls_compress import data

    count, loader = config.Global.export_check_images, config.DataLoader.Eval
    if loader is not None and exists(loader.dataset.cls_label_path) and exists(loader.dataset.image_root):
        batches = data.build_loader(
            loader, class_num=config.Arch.class_num, seed=config.Global.seed, training=False, shard=False
        )
        needed = -(-count // loader.sampler.batch_size)
        images = np.concatenate([images.numpy() for images, _ in itertools.islice(batches, needed)])[:count]
        return images, f"{len(images)} validation images"
    images = np.random.default_rng(config.Global.seed).standard_normal((count, *config.Global.image_shape), np.float32)
    return images, f"{count} random images, as DataLoader.Eval names no existing ones"
