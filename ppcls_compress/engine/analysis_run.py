"""The analysis of a configured network's quantization: measured layer by layer, kept in a file, told in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import yaml

from ppcls_compress import io
from ppcls_compress.config.schema import Config
from ppcls_compress.data.transforms import Transform
from ppcls_compress.engine import assemble, samples
from ppcls_compress.engine.context import compression_context
from ppcls_compress.engine.loaders import training_loader
from ppcls_compress.engine.logs import logger
from ppcls_compress.engine.progress import track
from ppcls_compress.errors import UserError
from ppcls_compress.slim import recipe
from ppcls_compress.slim.quant.analysis import NOISY, Cause, Row, analyze, remedy

AGREEMENT = "classes as in float"


@dataclass(frozen=True, eq=False)
class Study:
    """A finished analysis: the model, the images that it was looked at with, and a row for each layer."""

    model: paddle.nn.Layer
    images: samples.Samples
    rows: list[Row]


def study(config: Config, file: Path, *, images: int, identify: Callable[[paddle.nn.Layer], str]) -> Study:
    """Analyze every quantized layer; what `file` holds already is not repeated.

    Weights without a quantization are calibrated first, as `quantize` does.

    Args:
        config: with a section `Slim.quant`, or weights that were quantized.
        file: JSON, written after every layer.
        images: validation images, or as many as there are; training images where there are none.
        identify: gives a text that is the same for the same weights and ranges only.

    Raises:
        UserError: the weights cannot be used, there are no images, or `file` is of other weights or images.
    """
    batches = recipe.CALIBRATION_BATCHES
    context = compression_context(
        config, lambda: training_loader(config), calibration=lambda: samples.still_batches(config, batches)
    )
    model, record = assemble.build_model(config, context=context)
    looked_at = samples.from_split(config, ("Eval", "Train"), images)
    if looked_at is None:
        raise UserError(
            "DataLoader.Eval, DataLoader.Train: neither names images that exist; the analysis looks at some"
        )
    about = {
        "images": str(looked_at),
        "network": identify(model),
        "options": recipe.step_of(record, "quant")["options"],
    }
    return Study(model, looked_at, measured(model, looked_at.batches, file, about))


def measured(
    model: paddle.nn.Layer,
    batches: Sequence[np.ndarray],
    file: Path,
    about: Mapping[str, Any],
    *,
    score: Callable[[paddle.nn.Layer], float] | None = None,
    metric: str = AGREEMENT,
) -> list[Row]:
    """A row for every quantized layer, each told and kept; what `file` holds already is not repeated.

    Args:
        model: calibrated or trained.
        batches: float32 [N, C, H, W] each.
        file: JSON, written after every layer.
        about: plain values that are the same for the same weights, ranges and images only.
        score: judges the model, from 0 to 1; None takes the share of classes that stay as in float.
        metric: what that is, in words.

    Raises:
        UserError: `file` is of another `about`.
    """
    rows = _kept(file, about)
    tensors = [paddle.to_tensor(batch) for batch in batches]
    for row in track(analyze(model, tensors, done=[row.layer for row in rows], score=score), "analyzing layers"):
        rows.append(row)
        io.write_json(file, {**about, "layers": [asdict(item) for item in rows]})
        logger.info("%s", told(row, metric))
    return rows


def _kept(file: Path, about: Mapping[str, Any]) -> list[Row]:
    """The layers that an earlier run has finished."""
    if not file.exists():
        return []
    found = io.read_json(file)
    try:
        rows = [Row(**{**row, "causes": tuple(Cause(**cause) for cause in row["causes"])}) for row in found["layers"]]
    except (KeyError, TypeError) as error:
        raise UserError(f"{file}: is no analysis of quantization; take another --out") from error
    for key, value in about.items():
        if _json(found.get(key)) != _json(value):
            raise UserError(f"{file}: {key}: analyzed with other ones; take another --out, or delete the file")
    return rows


def _json(value: Any) -> Any:
    """A value as a file has it: tuples are lists there."""
    if isinstance(value, Mapping):
        return {key: _json(item) for key, item in value.items()}
    return [_json(item) for item in value] if isinstance(value, list | tuple) else value


def told(row: Row, metric: str = AGREEMENT) -> str:
    """A line for the user; `metric` says what `alone` and `without` are."""
    causes = "; ".join(f"{cause.kind}: {cause.found} ({cause.help})" for cause in row.causes)
    return (
        f"{row.layer}: output {row.output_db:.1f} dB, input {row.input_db:.1f}, weight {row.weight_db:.1f}; "
        f"{metric}: {100 * row.alone:.1f}% with it alone rounded, {100 * row.without:.1f}% with all others"
        f"{'; ' + causes if causes else ''}"
    )


def prepared_by(config: Config, ops: Sequence[Transform], count: int) -> np.ndarray | None:
    """The images of a study as other transforms prepare them, float32 [N, C, H, W]; None without validation images."""
    loader = config.DataLoader.Eval
    if loader is None:
        return None
    dataset = loader.dataset.model_copy(update={"transform_ops": tuple(ops)})
    loaders = config.DataLoader.model_copy(update={"Eval": loader.model_copy(update={"dataset": dataset})})
    found = samples.from_split(config.model_copy(update={"DataLoader": loaders}), ("Eval",), count)
    return None if found is None else found.images


def suggest(rows: Sequence[Row], file: Path) -> None:
    """Write settings for `Slim.quant` that take care of the noisy layers, to be pasted."""
    noisy = [row.layer for row in rows if row.output_db < NOISY]
    if not noisy:
        logger.info("no layer's output is below %.0f dB: nothing to set", NOISY)
        return
    block = remedy(rows)
    with io.atomic(file) as partial:
        partial.write_text(yaml.safe_dump({"Slim": {"quant": block}}, sort_keys=False), encoding="utf-8")
    logger.info(
        "%d layers below %.0f dB, the noisiest is %s; settings that help: %s", len(noisy), NOISY, noisy[0], file
    )
