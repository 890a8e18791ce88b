"""Exports what a configuration describes, with the images to check and calibrate on that it names."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import paddle

from ppcls_compress.config.schema import Config
from ppcls_compress.data.datasets.image_list import ImageNetDataset
from ppcls_compress.deploy import artifact, several, verify
from ppcls_compress.deploy.export import ExportResult, export
from ppcls_compress.deploy.kinds import Format
from ppcls_compress.deploy.network import fingerprint
from ppcls_compress.deploy.several import Plan
from ppcls_compress.engine import assemble, samples
from ppcls_compress.engine.context import compression_context
from ppcls_compress.engine.logs import logger
from ppcls_compress.errors import UserError
from ppcls_compress.postprocess.base import NONE
from ppcls_compress.slim import prune, recipe
from ppcls_compress.slim.options import SlimOptions

CALIBRATION_IMAGES = 256
RANDOM_IMAGES = 64
"""The most random images that are compared on: noise does not get more telling."""


def plan(config: Config, chosen: Sequence[Format], record: recipe.Record, *, speed_only: bool) -> Plan:
    """What exporting to the chosen formats takes.

    Images to compare on are validation images, else training images, else random ones; images to calibrate on are
    training images, else validation images; they are read only if a format needs some.

    Raises:
        UserError: there are no calibration images, or some cannot be read.
    """
    quantized = recipe.step_of(record, "quant") is not None
    wanted, needing = several.needed(chosen, record)
    count = config.Global.export_check_images
    if speed_only:
        images = samples.random(config, min(count, RANDOM_IMAGES))
        return Plan(wanted, images, images, needing, speed_only=_speed_only(config, quantized=quantized))
    size = config.Global.image_shape[1:]
    check = samples.from_split(config, ("Eval", "Train"), count)
    if check is None:
        check = samples.random(config, min(count, RANDOM_IMAGES))
    if not needing:
        return Plan(wanted, check.of_size(*size))
    calibration = samples.from_split(config, ("Train", "Eval"), CALIBRATION_IMAGES)
    if calibration is None:
        raise UserError(
            f"{needing[0]}: needs calibration images, for it rounds tensors whose range training does not learn; "
            "DataLoader.Train and DataLoader.Eval name none that exist. To measure speed only, add "
            "--synthetic-calibration"
        )
    return Plan(wanted, check.of_size(*size), calibration.of_size(*size), needing)


def _speed_only(config: Config, *, quantized: bool) -> str:
    arbitrary = ["weights are random"] if assemble.starts_fresh(config) else []
    if quantized:
        arbitrary.append("ranges come from random images")
    what = f"{' and '.join(arbitrary)}, its answers mean nothing" if arbitrary else "not checked on real images"
    return f"--synthetic-calibration: for measuring speed only; {what}"


def export_all(
    config: Config,
    model: paddle.nn.Layer,
    record: recipe.Record,
    directory: Path,
    plan: Plan,
    *,
    class_names: Sequence[str] | None = None,
) -> list[ExportResult]:
    """`several.export_formats` of a configured network, described as the configuration says.

    Args:
        directory: of all formats; some have a sub-folder of it.
        class_names: by class index.

    Raises:
        UserError: some formats could not be written, or disagree with the model, a line for each; what was there
            before of these is as it was.
    """
    counted = assemble.cost_of(config, record, model)
    description = artifact.Description(
        image_shape=config.Global.image_shape,
        output=_output(config),
        preprocess=config.Infer.transforms if config.Infer else (),
        class_names=None if class_names is None else tuple(class_names),
        post_process=config.post_process,
        model_name=config.Arch.name,
        params=counted.params,
        flops=counted.flops,
        network=fingerprint(model),
        source=source_of(config),
        validation=_validation(config),
        speed_only=bool(plan.speed_only),
    )
    if not description.preprocess:
        logger.warning("Infer.transforms: not given, so the artifact will not know how to prepare an image")
    if plan.speed_only:
        logger.warning("%s", plan.speed_only)
    check = plan.check
    reference = verify.reference(
        model,
        check.images,
        check.labels if config.Global.eval_mode == "classification" and not config.Arch.gives_features else None,
        kind=_kind(config),
        source=check.source,
        synthetic=check.labels is None,
    )
    return several.export_formats(
        model, record, directory, plan, description, reference, agreement=config.Global.export_agreement
    )


def _validation(config: Config) -> dict[str, str]:
    """Where the validation images are, as `artifact.Description` has it."""
    dataset = config.DataLoader.Eval.dataset if config.DataLoader.Eval is not None else None
    if type(dataset) is not ImageNetDataset or dataset.relabel or dataset.delimiter is not None:
        return {}
    return {"image_root": dataset.image_root, "cls_label_path": dataset.cls_label_path}


def _kind(config: Config) -> str:
    """What is told of an image, as `compare.Reference` calls it."""
    if config.Arch.gives_features:
        return "features"
    return "labels" if config.Global.use_multilabel else "classes"


def _output(config: Config) -> str:
    """What an exported network gives, as `artifact.Description` calls it."""
    if config.Arch.gives_features:
        return "features"
    if config.Global.use_multilabel:
        return "label_probabilities"
    grades = config.Infer is not None and config.Infer.PostProcess.scores == NONE
    return "probabilities" if config.Arch.infer_add_softmax and not grades else "logits"


def source_of(config: Config) -> str:
    """The weights that a configuration exports, as the user named them; empty for random ones."""
    return str(assemble.weights_prefix(config, download=False) or "")


def fresh_model(config: Config) -> tuple[paddle.nn.Layer, recipe.Record]:
    """The configured model on random images throughout: its size and speed are right, its answers are not.

    Weights are loaded where `Global.pretrained_model` or `Arch.pretrained` name local ones; nothing is downloaded.

    Raises:
        UserError: the weights do not fit, or the `Slim` section cannot be carried out.
    """
    from ppcls_compress import data

    loader = data.synthetic_loader(
        config.Global.image_shape,
        class_num=config.Arch.class_num,
        batch_size=4,
        steps=4,
        seed=config.Global.seed,
        dataset=config.DataLoader.Train.dataset if config.DataLoader.Train else None,
    )
    context = compression_context(config, lambda: loader, latency=latency_of(config))
    if assemble.weights_prefix(config, download=False) is not None:
        return assemble.build_model(config, context=context, download=False, reinit_head=True)
    model = assemble.build_dense(config)
    prune.recalibrate(model, (images for images, _ in loader))  # or signals die away, and with them the speed
    slim = config.Slim.options if config.Slim else SlimOptions()
    return recipe.compress(model, slim, [[1, *config.Global.image_shape]], context=context)


def latency_of(config: Config) -> Callable[[paddle.nn.Layer], float]:
    """A function that gives the milliseconds of a network for images of the configured shape, see `milliseconds`."""
    return lambda model: milliseconds(model, config.Global.image_shape)


def milliseconds(model: paddle.nn.Layer, image_shape: Sequence[int]) -> float:
    """What one image [C, H, W] takes in Paddle Inference on one thread; the network is exported to a temporary folder.

    One process is enough, because `target_latency_ms`, which looks for a plan by many of them, is met within 5%.
    """
    from ppcls_compress.deploy.measure import latency

    with tempfile.TemporaryDirectory() as folder:
        export(model, folder, description=artifact.Description(tuple(image_shape)))
        return latency.measure({"network": folder}, [1, *image_shape], processes=1)["network"].median_ms
