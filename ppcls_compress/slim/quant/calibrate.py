"""Find the activation ranges of a prepared model from a few batches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import numpy as np
import paddle

from ppcls_compress.errors import UserError
from ppcls_compress.slim.quant.histogram import Histogram
from ppcls_compress.slim.quant.layers import quant_layers


def calibrate(model: paddle.nn.Layer, batches: Iterable[paddle.Tensor]) -> None:
    """Run batches through the model in float and set every activation range from what the layers read.

    Dropout is off. A batch norm that has never been trained uses the batch's statistics, any other its running ones; no
    statistic changes.

    Args:
        model: prepared; its modes are as before afterwards.
        batches: inputs of the model, each [N, C, H, W] or what else it takes. A few of training's are enough.

    Raises:
        UserError: no quantized layer, no batch, a layer that no batch reached, or an activation that is not finite.
    """
    found = quant_layers(model)
    if not found:
        raise UserError(f"{type(model).__name__} is not prepared for quantization: it holds no quantized layer")
    seen: dict[str, list[Histogram]] = {name: [] for name in found}
    with _observing(model, found, seen), paddle.no_grad():
        for batch in batches:
            model(batch)
    if not any(seen.values()):
        raise UserError("calibration needs at least one batch, found none")
    unreached = [name for name, histograms in seen.items() if not histograms]
    if unreached:
        raise UserError(f"no calibration data reached {', '.join(unreached[:5])}; leave them out with `skip`")
    for name, histograms in seen.items():
        found[name]._fake_quant_input.calibrate(histograms)


@contextlib.contextmanager
def _observing(
    model: paddle.nn.Layer, found: dict[str, paddle.nn.Layer], seen: dict[str, list[Histogram]]
) -> Iterator[None]:
    modes = [(layer, layer.training) for layer in model.sublayers(include_self=True)]
    statistics = _untrained_statistics(model)
    hooks = [layer.register_forward_pre_hook(_recorder(name, seen[name])) for name, layer in found.items()]
    try:
        model.eval()
        for norm in statistics:
            norm.training = True
        for layer in found.values():
            layer.quantizing = False
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for layer in found.values():
            layer.quantizing = True
        for layer, training in modes:
            layer.training = training
        for norm, (mean, variance) in statistics.items():
            norm._mean.set_value(mean)
            norm._variance.set_value(variance)


def _recorder(name: str, histograms: list[Histogram]):
    def record(layer: paddle.nn.Layer, inputs: tuple) -> None:
        values = inputs[0].astype("float32").numpy()
        if not np.isfinite(values).all():
            raise UserError(f"{name}: its input is not finite during calibration; the weights or the data are broken")
        histograms.append(Histogram.of(values))

    return record


def _untrained_statistics(model: paddle.nn.Layer) -> dict[paddle.nn.Layer, tuple[paddle.Tensor, paddle.Tensor]]:
    """Batch norms whose running mean is 0 and variance 1 throughout, with a copy of both."""
    found = {}
    for layer in model.sublayers(include_self=True):
        if isinstance(getattr(layer, "_mean", None), paddle.Tensor) and hasattr(layer, "_variance"):
            mean, variance = layer._mean, layer._variance
            if not mean.numpy().any() and (variance.numpy() == 1).all():
                found[layer] = (mean.clone(), variance.clone())
    return found
