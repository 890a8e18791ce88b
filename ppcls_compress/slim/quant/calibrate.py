"""Find the activation ranges of a prepared model from a few batches."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import paddle

from ppcls_compress.errors import UserError
from ppcls_compress.slim import inputs as describing
from ppcls_compress.slim.copying import copied
from ppcls_compress.slim.options.reconstruction import Reconstruction
from ppcls_compress.slim.position import failures_told
from ppcls_compress.slim.quant import layers
from ppcls_compress.slim.quant.bias import InputMeans, corrects_bias
from ppcls_compress.slim.quant.foreign import foreign_layers
from ppcls_compress.slim.quant.input_grid import quantizer_grid
from ppcls_compress.slim.quant.placement import placement
from ppcls_compress.slim.quant.quantizers.base import ActivationQuantizer
from ppcls_compress.slim.quant.quantizers.learned import ClipWeightByAlpha, PaddleSlimPact
from ppcls_compress.slim.quant.quantizers.weights import WeightQuantizer
from ppcls_compress.slim.quant.reconstruction.run import Rounded, Shown, reconstruct

_NO_BATCH = "calibration needs at least one batch, found none"


def calibrate(
    model: paddle.nn.Layer,
    batches: Iterable[paddle.Tensor],
    *,
    reconstruction: Reconstruction | None = None,
    shown: Shown = lambda items, what: items,
) -> list[Rounded]:
    """Run batches through the model in float and set every activation range from what the layers read.

    Observed ranges of weights start from the weights, and so do the clips of `weight_preprocess_type: PACT`.

    Dropout is off. A batch norm that has never been trained uses the batch's statistics, any other its running ones; no
    statistic changes. A model that PaddleSlim quantized is left alone: its ranges come from training only.

    Args:
        model: prepared; its modes are as before afterwards.
        batches: inputs of the model: a tensor [N, C, H, W], a dict, or a list or tuple with an entry for each argument
            of `forward`. A few of training's are enough; `reconstruction` keeps them all in memory, and wants some
            hundred images.
        reconstruction: how the rounding of weights is learned; None leaves weights as they are.
        shown: to show the progress of that.

    Returns:
        What was rounded so, layer by layer.

    Raises:
        UserError: no quantized layer, no batch, one that the model does not take, a layer that no batch reached, or an
            activation that is not finite.
    """
    if foreign_layers(model):
        return []
    batches = batches if reconstruction is None else list(batches)
    found = required_quant_layers(model)
    correcting = {name: layer for name, layer in found.items() if corrects_bias(layer)}
    means = InputMeans(correcting)
    observation = Observation(found, placement.outputs(model), means)
    with _computing_in_float(model, found), observation.attached(), paddle.no_grad():
        for batch in batches:
            _show(model, batch)
    observation.finish()
    _start_weights(model, found)
    reference = None if reconstruction is None else copied(model)
    with layers.evaluating(model):
        means.correct()
    return [] if reference is None else reconstruct(model, reference, batches, reconstruction, shown=shown)


def try_out(model: paddle.nn.Layer, batches: Sequence[Any]) -> None:
    """Run batches through a float model in evaluation, to find out whether it can be calibrated on them.

    Raises:
        UserError: there is none, or one that the model does not take.
    """
    if not batches:
        raise UserError(_NO_BATCH)
    with layers.evaluating(model), paddle.no_grad():
        for batch in batches:
            _show(model, batch)


def _show(model: paddle.nn.Layer, batch: Any) -> None:
    with failures_told(model, f"calibration on a batch of {describing.told(batch)}"):
        describing.call(model, batch)


def required_quant_layers(model: paddle.nn.Layer) -> dict[str, paddle.nn.Layer]:
    """The quantized layers by name.

    Raises:
        UserError: there are none.
    """
    found = layers.quant_layers(model)
    if not found:
        raise UserError(f"{type(model).__name__} is not prepared for quantization: it holds no quantized layer")
    return found


def lopsided(model: paddle.nn.Layer) -> list[str]:
    """What a calibrated model rounds on a grid with its zero point in the middle, though it lies far more on one side.

    Returns:
        Names of the layers that read it, or with `placement: deploy` that give it.
    """
    return [part.layer_name for part in _activation_quantizers(model) if part.lopsided]


def free_grids(model: paddle.nn.Layer) -> int:
    """How many tensors a calibrated model rounds on a grid that not every runtime has.

    Such a grid has its zero point elsewhere than in the middle or on the lowest integer, or a range per channel.
    """
    grids = [quantizer_grid(part) for part in _activation_quantizers(model)]
    return sum(grid.zero_point is not None or grid.factors is not None for grid in grids)


def _activation_quantizers(model: paddle.nn.Layer) -> list[ActivationQuantizer]:
    inputs = [layer._fake_quant_input for layer in layers.quant_layers(model).values()]
    parts = [each for part in inputs if part is not None for each in placement.quantizers(part)]
    parts += [placement.quantizer_of(layer) for layer in placement.outputs(model).values()]
    found = [part for part in parts if isinstance(part, ActivationQuantizer)]
    return [part for part in found if not isinstance(part, placement.RoundedBefore)]


class Observation:
    """Collects what quantizers round, then sets their ranges.

    Args:
        found: the quantized layers, whose inputs are looked at.
        outputs: the layers whose output is rounded.
        means: collects what the layers read as well; None for nobody.
    """

    def __init__(
        self,
        found: dict[str, paddle.nn.Layer],
        outputs: dict[str, paddle.nn.Layer] | None = None,
        means: InputMeans | None = None,
    ) -> None:
        self._means = means
        self._observers: dict[str, list[tuple[ActivationQuantizer, Any]]] = {}
        self._reached: set[str] = set()
        self._found = found
        self._outputs = outputs or {}
        for name, layer in found.items():
            parts = [part for part in (layer._act_preprocess, layer._fake_quant_input) if part is not None]
            own = [part for part in parts if isinstance(part, ActivationQuantizer)]
            own = [part for part in own if not isinstance(part, placement.RoundedBefore)]
            self._observers[name] = [(part, part.observer()) for part in own]
        for layer in self._outputs.values():
            part = placement.quantizer_of(layer)
            self._observers[part.layer_name] = [(part, part.observer())]

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        """While active, forward passes are observed."""
        hooks = self.attach()
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def attach(self) -> list[Any]:
        """Observe forward passes until the returned hooks are removed."""
        hooks = [
            layer.register_forward_pre_hook(self._input_hook(name), with_kwargs=True)
            for name, layer in self._found.items()
        ]
        return hooks + [layer.register_forward_post_hook(self._look_at_output) for layer in self._outputs.values()]

    def finish(self) -> None:
        """Set the ranges.

        Raises:
            UserError: some layer saw no data.
        """
        if not self._reached:
            raise UserError(_NO_BATCH)
        unreached = [name for name in self._observers if name not in self._reached]
        if unreached:
            raise UserError(f"no calibration data reached {', '.join(unreached[:5])}; leave them out with `skip`")
        for observers in self._observers.values():
            for part, observer in observers:
                part.calibrate(observer)

    def _input_hook(self, name: str) -> Callable[[paddle.nn.Layer, tuple, dict[str, Any]], None]:
        def observe(layer: paddle.nn.Layer, inputs: tuple, named: dict[str, Any]) -> None:
            x, rest, named = layer.arguments(inputs, named)
            values, total = self._look(name, x, "input")
            if self._means is not None:
                self._means.add(name, len(values), total, rest, named)

        return observe

    def _look_at_output(self, layer: paddle.nn.Layer, inputs: tuple, output: object) -> None:
        (tensor,) = describing.tensors(output)
        self._look(placement.quantizer_of(layer).layer_name, tensor, "output")

    def _look(self, name: str, tensor: paddle.Tensor, side: str) -> tuple[np.ndarray, np.ndarray]:
        """The values [N, ...] that observers have seen, and their sum over the batch, [1, ...]."""
        values = _viewed(tensor if tensor.dtype == paddle.float32 else tensor.astype("float32"))
        # A sum that is finite is one of finite values; this one is taken anyway, and with whole rows at a time is fast.
        total = values.sum(axis=0, keepdims=True)
        if not (np.isfinite(total.sum()) or np.isfinite(values).all()):
            raise UserError(f"{name}: its {side} is not finite during calibration; the weights or the data are broken")
        self._reached.add(name)
        for _, observer in self._observers[name]:
            observer.add(values)
        return values, total


def _viewed(tensor: paddle.Tensor) -> np.ndarray:
    """The values for a look; on a CPU without the copy, which takes ten times as long as to look at them."""
    return np.from_dlpack(tensor.detach()) if tensor.place.is_cpu_place() else tensor.numpy()


def _start_weights(model: paddle.nn.Layer, found: dict[str, paddle.nn.Layer]) -> None:
    """Start the ranges that follow a weight, unless PaddleSlim's own start is asked for."""
    with layers.evaluating(model), paddle.no_grad():
        for layer in found.values():
            quantizer, clip = layer._fake_quant_weight, layer._weight_preprocess
            if isinstance(clip, PaddleSlimPact) or isinstance(layer._act_preprocess, PaddleSlimPact):
                continue
            if isinstance(clip, ClipWeightByAlpha):
                clip.calibrate_from(layer.weight)
            if isinstance(quantizer, WeightQuantizer):
                quantizer.start(layer.preprocessed_weight())


@contextlib.contextmanager
def _computing_in_float(model: paddle.nn.Layer, found: dict[str, paddle.nn.Layer]) -> Iterator[None]:
    statistics = untrained_statistics(model)
    rounding = [placement.quantizer_of(layer) for layer in placement.outputs(model).values()]
    try:
        with layers.evaluating(model):
            for norm, _, _ in statistics:
                norm.training = True
            for part in (*found.values(), *rounding):
                part.quantizing = False
            yield
    finally:
        for part in (*found.values(), *rounding):
            part.quantizing = True
        for norm, mean, variance in statistics:
            norm._mean.set_value(mean)
            norm._variance.set_value(variance)


def untrained_statistics(model: paddle.nn.Layer) -> list[tuple[paddle.nn.Layer, np.ndarray, np.ndarray]]:
    """Batch norms whose running mean is 0 and variance 1 throughout, with a copy of both."""
    found = []
    for layer in model.sublayers():
        if isinstance(getattr(layer, "_mean", None), paddle.Tensor) and hasattr(layer, "_variance"):
            mean, variance = layer._mean.numpy(), layer._variance.numpy()
            if not mean.any() and (variance == 1).all():
                found.append((layer, mean.copy(), variance.copy()))
    return found
