"""Automatic mixed precision where the device has it."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import paddle

from ppcls_compress.config.sections import Amp
from ppcls_compress.engine.logs import logger
from ppcls_compress.optim.group import OptimizerGroup, members_of


class Precision:
    """Full precision, or Paddle's autocast with loss scaling."""

    def __init__(self, options: Amp | None = None) -> None:
        self._options = options
        scale = options is not None and options.dtype == "float16"
        self._scaler = (
            paddle.amp.GradScaler(
                init_loss_scaling=options.scale_loss, use_dynamic_loss_scaling=options.use_dynamic_loss_scaling
            )
            if scale
            else None
        )

    def prepare(
        self, model: paddle.nn.Layer, optimizer: paddle.optimizer.Optimizer | OptimizerGroup
    ) -> tuple[paddle.nn.Layer, paddle.optimizer.Optimizer | OptimizerGroup]:
        """Model and optimizer as the level needs them: `O2` keeps parameters in half precision, and float32 masters."""
        if self._options is None or self._options.level != "O2":
            return model, optimizer
        model, _ = paddle.amp.decorate(
            model,
            list(members_of(optimizer)),
            level="O2",
            dtype=self._options.dtype,
            master_weight=True,
            save_dtype="float32",
        )
        return model, optimizer

    def autocast(self) -> AbstractContextManager[None]:
        """The context of a forward pass."""
        if self._options is None:
            return contextlib.nullcontext()
        promote = self._options.use_promote is not False
        return paddle.amp.auto_cast(level=self._options.level, dtype=self._options.dtype, use_promote=promote)

    def scaled(self, loss: paddle.Tensor) -> paddle.Tensor:
        """The loss to call backward on."""
        return self._scaler.scale(loss) if self._scaler else loss

    def step(self, optimizer: paddle.optimizer.Optimizer | OptimizerGroup) -> None:
        """One optimizer step; with loss scaling it is left out when a gradient is not finite. Clears gradients."""
        if self._scaler:
            for member in members_of(optimizer):
                self._scaler.step(member)
            self._scaler.update()
        else:
            optimizer.step()
        optimizer.clear_grad(set_to_zero=False)

    def state_dict(self) -> dict[str, object]:
        """The state of the loss scaling, empty without it."""
        return self._scaler.state_dict() if self._scaler else {}

    def set_state_dict(self, state: dict[str, object]) -> None:
        """Go on with a saved state of the loss scaling."""
        if self._scaler and state:
            self._scaler.load_state_dict(state)


def build_precision(options: Amp | None) -> Precision:
    """Mixed precision as the `AMP` section asks, or full precision, with a warning, where the device cannot do it."""
    if options is None or not options.use_amp:
        return Precision()
    device = paddle.get_device()
    arithmetic = paddle.amp.is_float16_supported if options.dtype == "float16" else paddle.amp.is_bfloat16_supported
    if device == "cpu" or not arithmetic():  # on a CPU, Paddle's autocast leaves every operator in float32
        logger.warning("AMP: no mixed precision in %s on %s; training in float32", options.dtype, device)
        return Precision()
    return Precision(options)
