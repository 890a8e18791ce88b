"""The profile of a configured network: a table of its layers, and how far sums of it are from whole files."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import paddle

from ppcls_compress.config.schema import Config
from ppcls_compress.deploy import artifact
from ppcls_compress.deploy.export import export
from ppcls_compress.deploy.kinds import Format
from ppcls_compress.deploy.measure import latency, layers
from ppcls_compress.engine import assemble, samples
from ppcls_compress.engine.logs import logger
from ppcls_compress.slim import recipe
from ppcls_compress.slim.options import PruneOptions, QuantOptions, SlimOptions

_IMAGES = 16
_HALF = 0.5


def rehearsed(config: Config, options: SlimOptions) -> tuple[paddle.nn.Layer, recipe.Record]:
    """The configured network compressed as the options say, calibrated on random images and not trained."""
    images = paddle.to_tensor(samples.random(config, _IMAGES).images)
    model, _ = assemble.build_model(config.model_copy(update={"Slim": None}), download=False)
    context = recipe.Context(lambda: [images])
    return recipe.compress(model, options, [[1, *config.Global.image_shape]], context=context)


def write_rehearsed(config: Config, folder: Path, kind: Format, options: SlimOptions) -> None:
    """An artifact of `rehearsed`, as large and as fast as one that is trained; its answers mean nothing."""
    model, record = rehearsed(config, options)
    counted = assemble.cost_of(config.model_copy(update={"Slim": None}), record)
    about = artifact.Description(
        config.Global.image_shape, format=kind.name, params=counted.params, flops=counted.flops
    )
    calibration = samples.random(config, _IMAGES).batches if options.quant and kind.calibrated else None
    export(model, folder, description=about, record=record, calibration=calibration)


def sized(kept: float, counts: str, *, integers: bool, spared: Sequence[str] = ()) -> SlimOptions:
    """What leaves a share of a network's multiply-adds or parameters.

    Args:
        counts: `flops` or `params`.
        spared: layers that stay float beside integers.
    """
    prune = PruneOptions(**{f"target_{counts}": kept}, verify=False) if kept < 1 else None
    return SlimOptions(prune, QuantOptions(name="ptq", skip=tuple(spared)) if integers else None)


def profile(config: Config, kind: Format, runtime: str | None, *, batch: int = 1) -> layers.Table:
    """Time the layers alone and whole files; what the dense files take beyond their layers is kept.

    What that gives for files with half of the multiply-adds is compared with these, and told.

    Args:
        batch: images at a time.

    Raises:
        UserError: single layers are not timed in this runtime.
    """
    shape = config.Global.image_shape
    name = kind.runtime(runtime).name
    dense, _ = rehearsed(config, sized(1.0, "flops", integers=False))
    found = layers.layers_of(dense, shape)
    logger.info("timing %d layers of %s in %s, with several numbers of channels", len(found), config.Arch.name, name)
    table = layers.measure(found, name, batch=batch)
    half, _ = rehearsed(config, sized(_HALF, "flops", integers=False))
    fewer = layers.layers_of(half, shape)
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for kept in (1.0, _HALF):
            for integers in (False, True):
                place = Path(folder) / f"{kept}-{integers}"
                write_rehearsed(config, place, kind, sized(kept, "flops", integers=integers))
                files[f"{kept}-{integers}"] = latency.Candidate(place, runtime=runtime)
        taken = latency.measure(files, [batch, *shape])
    everything = {layer.name for layer in found}
    for key, quantized in (("float", set()), ("integer", everything)):
        whole = taken[f"1.0-{bool(quantized)}"].median_ms
        alone = table.predicted(found, quantized)
        table.whole[key] = layers.Whole.of(whole, alone)
        measured, predicted = taken[f"{_HALF}-{bool(quantized)}"].median_ms, table.predicted(fewer, quantized)
        logger.info(
            "%s: the dense file takes %.3f ms, its layers alone %.3f; with half of the multiply-adds %.3f ms, "
            "predicted %.3f: off by %+.0f%%",
            key,
            whole,
            alone,
            measured,
            predicted,
            100 * (predicted / measured - 1),
        )
    return table
