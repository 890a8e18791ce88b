"""AdamW with a learning rate for each layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import paddle


class LayerwiseAdamW(paddle.optimizer.AdamW):
    """`paddle.optimizer.AdamW` whose learning rate is multiplied by a number for each parameter.

    Paddle's own `lr_ratio` does not exist on a CPU.

    Args:
        ratios: Paddle's name of each parameter -> the number.
        arguments: as `paddle.optimizer.AdamW` takes them.
    """

    def __init__(self, *, ratios: Mapping[str, float], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._ratios = ratios

    def _create_param_lr(self, param_and_grad: Any) -> paddle.Tensor:
        return super()._create_param_lr(param_and_grad) * self._ratios[param_and_grad[0].name]
