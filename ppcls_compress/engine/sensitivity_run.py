"""Sensitivity of a configured network to the pruning of each layer, and ratios that follow from it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import paddle
import yaml

from ppcls_compress import io
from ppcls_compress.config.schema import Config
from ppcls_compress.data import build_loader
from ppcls_compress.engine import assemble
from ppcls_compress.engine.context import compression_context
from ppcls_compress.engine.evaluate import evaluate_model
from ppcls_compress.engine.judging import recognition_evaluator
from ppcls_compress.engine.loaders import training_loader
from ppcls_compress.engine.logs import logger
from ppcls_compress.engine.measured import main_metric
from ppcls_compress.engine.progress import step
from ppcls_compress.errors import ConfigError, UserError
from ppcls_compress.metrics import Metrics
from ppcls_compress.slim import cost
from ppcls_compress.slim.paddleslim.criterion_pruners import CriterionPruner, pruner_class
from ppcls_compress.slim.prune.choose.criteria import CRITERIA
from ppcls_compress.slim.prune.sensitivity import Progress, Sensitivities, bisect

_TOLERANCE = 0.02
"""Share of the dense network's cost by which a suggestion may miss its target."""

_TIMING = 0.1
"""Share of a target latency by which it may be missed: measured times differ by as much."""


@dataclass(frozen=True)
class Study:
    """A finished analysis.

    Attributes:
        model: the network, as it was.
        pruner: of PaddleSlim's kind.
        criterion: the pruner's name in a configuration.
        measured: Paddle's parameter name -> ratio -> share of the score that is lost.
        layers: Paddle's parameter name -> layer name.
    """

    model: paddle.nn.Layer
    pruner: CriterionPruner
    criterion: str
    measured: Sensitivities
    layers: dict[str, str]
    inputs: list[list[int]]

    @property
    def by_layer(self) -> Sensitivities:
        """`measured` under the layers' names."""
        return {self.layers[name]: losses for name, losses in self.measured.items()}


def study(config: Config, file: Path, *, images: int | None = None) -> Study:
    """Prune every layer alone by 10% to 90%, and evaluate each time; what `file` holds already is not repeated.

    Args:
        file: JSON, written after every measurement.
        images: validation images to evaluate on; None for all.

    Raises:
        UserError: the criterion has a score for no layer, the weights cannot be used, or `file` holds measurements of
            other weights or on another number of images.
    """
    criterion = config.Slim.prune.name if config.Slim and config.Slim.prune else "fpgm"
    plain = config.model_copy(update={"Slim": None})
    inputs = [[1, *config.Global.image_shape]]
    with paddle.utils.unique_name.guard():  # so that names in the file mean the same in every run
        model, _ = assemble.build_model(plain)
    if CRITERIA.get(criterion).needs_gradients:
        compression_context(config, partial(training_loader, config, shard=False)).gradients(model)
    pruner = pruner_class(criterion)(model, inputs)
    for parameter in model.parameters():
        parameter.clear_gradient(False)  # the pruner has what it needs of them
    layers = {parameter.name: name.removesuffix(".weight") for name, parameter in model.named_parameters()}
    unscored = pruner.unscored()
    if unscored:
        logger.info("%s has no score for: %s", criterion, ", ".join(layers[name] for name in unscored))
    score = _score(config, model, images)

    def tell(at: Progress) -> None:
        left = timedelta(seconds=round(at.eta))
        running.advance(note=f"{at.done} of {at.total}, {left} left")
        logger.info(
            "%d/%d, %s pruned by %.0f%%: loses %.2f%%; %s left",
            at.done,
            at.total,
            layers[at.name],
            100 * at.ratio,
            100 * at.loss,
            left,
        )

    about = {"images": "all" if images is None else images}
    with step("measuring sensitivities") as running:
        measured = pruner.sensitive(score, sen_file=file, skip_vars=unscored, progress=tell, about=about)
    unknown = [name for name in measured if name not in layers]
    if unknown:
        raise UserError(f"{file}: is of another network, which has a parameter {unknown[0]}; remove it or change --out")
    logger.info("written: %s", file)
    return Study(model, pruner, criterion, measured, layers, inputs)


def suggest(
    found: Study,
    target: str,
    value: float,
    file: Path,
    latency: Callable[[paddle.nn.Layer], float],
    *,
    reach: bool = False,
) -> dict[str, float]:
    """Ratios at which every layer loses the same, and which together meet a target; written as a `Slim` section.

    Args:
        target: `target_flops` or `target_params`, a share to keep, or `target_latency_ms`.
        file: YAML.
        latency: milliseconds that a network takes.
        reach: never remove less than is asked for.

    Raises:
        UserError: even the largest measured ratios do not reach the target, the dense network meets it already, or
            what these layers allow misses it by more than two points (a tenth of a latency). Nothing is written then.
    """
    size = {
        "target_flops": lambda: cost.count(found.model, found.inputs).flops,
        "target_params": lambda: cost.count(found.model, found.inputs).params,
        "target_latency_ms": lambda: latency(found.model),
    }[target]
    option = f"--{target.replace('_', '-')}"
    dense = size()
    if target == "target_latency_ms" and value >= dense:
        raise UserError(f"{option}: the dense network takes {dense:.3g} ms, so less is allowed, found {value:g}")
    wanted = 1 - (value / dense if target == "target_latency_ms" else value)

    def removed(ratios: dict[str, float]) -> float:
        if not ratios:
            return 0.0
        with warnings.catch_warnings():  # a search also tries ratios that remove nothing
            warnings.filterwarnings("ignore", message="prune_vars: nothing is pruned")
            plan = found.pruner.prune_vars(ratios, 0)
        try:
            return 1 - size() / dense
        finally:
            plan.restore(found.model)

    most = removed({name: max(losses) for name, losses in found.measured.items()})
    if most < wanted:
        raise UserError(f"{option}: at most {most:.0%} can be removed, {wanted:.0%} is asked for")
    ratios, achieved = bisect(
        found.measured,
        wanted,
        removed,
        align=lambda ratios: {name: round(r, 3) for name, r in ratios.items()},
        reach=reach,
    )
    allowed = _TIMING * (1 - wanted) if target == "target_latency_ms" else _TOLERANCE
    if abs(achieved - wanted) > allowed or (reach and achieved < wanted):
        raise UserError(
            f"{option}: the nearest that these layers allow removes {achieved:.1%}, {wanted:.1%} is asked for"
        )
    by_layer = {found.layers[name]: ratio for name, ratio in ratios.items()}
    section = {"Slim": {"prune": {"name": found.criterion, "scope": "layer", "pruned_ratio": by_layer}}}
    with io.atomic(file) as partial:
        partial.write_text(yaml.safe_dump(section, sort_keys=False), encoding="utf-8")
    logger.info("written: %s, which removes %.1f%% (asked for: %.1f%%)", file, 100 * achieved, 100 * wanted)
    return by_layer


def _score(config: Config, model: paddle.nn.Layer, images: int | None) -> Callable[[], float]:
    if not config.Metric.Eval[0].higher_is_better:
        raise ConfigError(
            f"Metric.Eval.0: {main_metric(config)} is smaller for a better network, and a sensitivity is the share of "
            "the metric that is lost; begin with one that is larger for a better one"
        )
    if config.Global.eval_mode != "classification":
        if images is not None:
            raise ConfigError(f"--images: Global.eval_mode is {config.Global.eval_mode}, which looks at all images")
        measure, name = recognition_evaluator(config, model), main_metric(config)
        return lambda: measure()[name]
    loader = build_loader(
        config.DataLoader.Eval, class_num=config.Arch.class_num, seed=config.Global.seed, training=False
    )
    metrics, name = Metrics(config.Metric.Eval), main_metric(config)
    return lambda: evaluate_model(model, first_images(loader, images), metrics)[name]


def first_images(
    batches: Iterable[tuple[paddle.Tensor, paddle.Tensor]], count: int | None
) -> Iterator[tuple[paddle.Tensor, paddle.Tensor]]:
    """Batches of images and labels up to so many images, the last one cut; all of them when `count` is None."""
    for images, labels in batches:
        if count is None:
            yield images, labels
            continue
        yield images[:count], labels[:count]
        count -= len(labels)
        if count <= 0:
            return
