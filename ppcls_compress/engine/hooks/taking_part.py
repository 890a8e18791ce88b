"""Every parameter takes part in the loss, as Paddle's `DataParallel` needs."""

from __future__ import annotations

from ppcls_compress.engine.hooks.base import Batch, Hook
from ppcls_compress.engine.training import Training
from ppcls_compress.errors import UserError


class TakingPart(Hook):
    """Refuses a network whose loss leaves some of its parameters without a gradient, after the first batch.

    `DataParallel` exchanges gradients once all are there: with one missing, none is exchanged, and the next batch fails
    with a traceback that names nothing.
    """

    def __init__(self) -> None:
        self._looked = False

    def after_backward(self, trainer: Training, batch: Batch) -> None:
        """Look once.

        Raises:
            UserError: names the first of these parameters.
        """
        if self._looked:
            return
        self._looked = True
        named = trainer.model.named_parameters()
        left = [name for name, parameter in named if not parameter.stop_gradient and parameter.grad is None]
        if left:
            rest = f" and {len(left) - 3} more" if len(left) > 3 else ""
            raise UserError(
                f"no loss of Loss.Train reads what {', '.join(left[:3])}{rest} compute, and several processes need "
                "gradients of all parameters; add a loss that does, leave that part out (Arch.Head, say), or train in "
                "one process"
            )
