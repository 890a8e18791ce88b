"""Networks that are told the labels in training."""

from __future__ import annotations

import paddle

from ppcls_compress.outputs import Output


class TakesLabels(paddle.nn.Layer):
    """A network that is called with labels in training, for a margin that its last layer puts before the right class.

    In evaluation, and where it is traced and exported, it is called with images alone.
    """

    def forward(self, images: paddle.Tensor, labels: paddle.Tensor | None = None) -> Output:
        """Images [N, C, H, W], and their int64 labels [N] or [N, k]."""
        raise NotImplementedError(f"{type(self).__name__} has no forward of its own")
