"""`train --dry-run`: everything that a run does, in small: two steps on synthetic images, a temporary export."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import paddle

from ppcls_compress import data
from ppcls_compress.config.runs import run_folder
from ppcls_compress.config.schema import Config
from ppcls_compress.data.options import LoaderConfig
from ppcls_compress.deploy import configured, formats
from ppcls_compress.deploy.network import logits_of
from ppcls_compress.deploy.nursery import Nursery
from ppcls_compress.engine import assemble, samples, together
from ppcls_compress.engine.context import compression_context
from ppcls_compress.engine.hooks.messages import Messages
from ppcls_compress.engine.hooks.nan_guard import NanGuard
from ppcls_compress.engine.logs import logger, logging_to
from ppcls_compress.engine.modes.base import MoreImages
from ppcls_compress.engine.trainer import build_trainer
from ppcls_compress.slim import prune, recipe

STEPS = 2
_UNJUDGED = dict.fromkeys(formats.FORMATS, 0.0)
MAX_BATCH = 8
_NUDGE = 1e-5
"""What is added to an image of standard normal noise; some hundred times what single precision rounds of it."""
_STEADY = 0.1
"""Change by the nudge, in parts of the largest logit, up to which two runtimes can be compared: rounding moves less."""


def rehearse(
    config: Config, *, largest_batch: int = MAX_BATCH, steps: int = STEPS, nursery: Nursery | None = None
) -> None:
    """Build, compress, train some steps, export and check; keep nothing.

    A configuration without losses, for inference alone, is not trained. Random weights are exported as they were
    before. Local weights are loaded, nothing is downloaded; the images are random, of the configured shape and class
    count, in batches of at most `largest_batch`.

    Args:
        steps: of training.
        nursery: where the process that runs the export is forked; None starts one.

    Raises:
        UserError: what the real run would fail with.
    """
    training, further = config.DataLoader.Train, config.DataLoader.Metalearning
    batch = largest_batch if training is None else min(training.sampler.batch_size, largest_batch)

    def synthetic(split: LoaderConfig | None) -> data.SyntheticLoader:
        return data.synthetic_loader(
            config.Global.image_shape,
            class_num=config.Arch.class_num,
            batch_size=batch,
            steps=steps,
            seed=config.Global.seed,
            dataset=split and split.dataset,
        )

    loader = synthetic(training)
    with logging_to():
        logger.info("dry run: %d steps of %d synthetic images %s", steps, batch, list(config.Global.image_shape))
        assemble.start(config)
        companions = assemble.build_companions(config, download=False)
        context = compression_context(
            config,
            lambda: loader,
            latency=configured.latency_of(config),
            companions=companions,
            metalearning=lambda: synthetic(further and further.Train),
        )
        model, record = assemble.build_model(config, context=context, download=False, reinit_head=True)
        if config.Loss is not None:
            _train(config, model, loader, companions, lambda: synthetic(further and further.Train))
        with tempfile.TemporaryDirectory() as folder:
            check = samples.random(config, batch)
            if assemble.starts_fresh(config):
                _make_comparable(model, check)
            plan = configured.Plan([formats.get("paddle")], check, nursery=nursery)
            configured.export_all(_judged(config, record), model, record, Path(folder), plan)
        logger.info(
            "dry run passed; the real run trains %d epochs and writes to %s",
            config.Global.epochs,
            run_folder(config),
        )


def _train(
    config: Config,
    model: paddle.nn.Layer,
    loader: data.SyntheticLoader,
    companions: together.Companions,
    metalearning: MoreImages,
) -> None:
    """An epoch of a few steps. Of it nothing but weights is left: gradients and momenta are twice as large again."""
    trainer = build_trainer(config, model, loader, epochs=1, companions=companions, metalearning=metalearning)
    trainer.hooks = [Messages(1), NanGuard(1)]
    with _put_back(model) if assemble.starts_fresh(config) else nullcontext():
        trainer.run()
    for parameter in model.parameters():
        parameter.clear_gradient(set_to_zero=False)


def _make_comparable(model: paddle.nn.Layer, check: samples.Samples) -> None:
    """Batch statistics of the images that are compared on, where random weights overflow or amplify without them.

    Those of a network that is new, 0 and 1, keep nothing small. In deep ones the output may grow from layer to layer
    beyond single precision, or hang on what is rounded: of RepVGG_D2se's logits nine tenths change with an image's
    sixth digit, those of other networks by a millionth.
    """
    image = check.images[:1]  # one does as the other
    nearby = image + _NUDGE * np.random.default_rng(0).standard_normal(image.shape, np.float32)
    logits, moved = logits_of(model, image), logits_of(model, nearby)
    if not np.abs(moved - logits).max() <= _STEADY * np.abs(logits).max():  # nor where one is not a number
        logger.info("the random weights overflow or amplify random images: batch norms take the statistics of these")
        prune.recalibrate(model, [paddle.to_tensor(check.images)])


@contextmanager
def _put_back(model: paddle.nn.Layer) -> Iterator[None]:
    """Gives a network its state back after the block.

    A few steps from random weights, on noise, at the rate of a long run, can make them overflow, which tells nothing
    of the run and would make an export impossible to compare.
    """
    state = {name: value.clone() for name, value in model.state_dict().items()}
    yield
    for name, value in model.state_dict().items():
        value.set_value(state[name])


def _judged(config: Config, record: recipe.Record) -> Config:
    """With bounds on what an artifact may differ by, unless random weights are rounded.

    The classes of an untrained network are as good as tied, and the rounding of one number may tell which is likeliest.
    """
    if recipe.step_of(record, "quant") is None or not assemble.starts_fresh(config):
        return config
    logger.info("the weights are random: how far the exported network agrees is told, and not judged")
    return config.model_copy(update={"Global": config.Global.model_copy(update={"export_agreement": _UNJUDGED})})
