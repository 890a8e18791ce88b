"""Batch norms over the batches of all processes, where PaddlePaddle has no kernel for it: on a CPU."""

from __future__ import annotations

from typing import Any

import paddle
import paddle.distributed as dist
from paddle import nn
from paddle.autograd import PyLayer

from ppcls_compress.engine.distributed import world_size

_NORMS = (nn.BatchNorm1D, nn.BatchNorm2D)


class SharedBatchNorm(nn.SyncBatchNorm):
    """`paddle.nn.SyncBatchNorm` from ordinary operators and sums over processes.

    In training the mean and the variance are those of the batches of all processes, and so are their gradients; the
    running ones follow as Paddle's on a CPU do, by the variance that divides by the number of values. While a program
    is traced, in evaluation, and where it is to use its running statistics, it is an ordinary batch norm.
    """

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """The normalised tensor, [N, C, ...]."""
        if not self.training or self._use_global_stats or not paddle.in_dynamic_mode() or world_size() == 1:
            return nn.functional.batch_norm(
                x,
                self._mean,
                self._variance,
                self.weight,
                self.bias,
                training=self.training,
                momentum=self._momentum,
                epsilon=self._epsilon,
                data_format=self._data_format,
                use_global_stats=self._use_global_stats,
            )
        axes = [axis for axis in range(x.ndim) if axis != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        count = _Sum.apply(paddle.full([1], x.size / x.shape[1]))
        mean = _Sum.apply(x.sum(axes)) / count
        centred = x - mean.reshape(shape)
        variance = _Sum.apply(centred.square().sum(axes)) / count
        with paddle.no_grad():
            for kept, found in ((self._mean, mean), (self._variance, variance)):
                kept.set_value(kept * self._momentum + found * (1 - self._momentum))
        normalised = centred * (variance + self._epsilon).rsqrt().reshape(shape)
        return normalised * self.weight.reshape(shape) + self.bias.reshape(shape)


class _Sum(PyLayer):
    """The sum over processes; what is found to be its gradient in each of them is added up likewise."""

    @staticmethod
    def forward(ctx: Any, x: paddle.Tensor) -> paddle.Tensor:
        return _added_up(x)

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> paddle.Tensor:
        return _added_up(gradient)


def _added_up(x: paddle.Tensor) -> paddle.Tensor:
    total = x.detach().clone()
    dist.all_reduce(total)
    return total


def share_batch_norms(model: nn.Layer) -> nn.Layer:
    """Put a `SharedBatchNorm` with the same parameters and statistics in the place of each batch norm."""
    for parent in [model, *model.sublayers()]:
        for name, layer in list(parent.named_children()):
            if type(layer) in _NORMS and layer._data_format in ("NCHW", "NCL", "NC"):
                parent.add_sublayer(name, _shared(layer))
    return model


def _shared(layer: nn.BatchNorm2D) -> SharedBatchNorm:
    found = SharedBatchNorm(layer._num_features, momentum=layer._momentum, epsilon=layer._epsilon)
    found.weight, found.bias = layer.weight, layer.bias
    found._mean, found._variance = layer._mean, layer._variance
    found._use_global_stats = layer._use_global_stats
    found.training = layer.training
    return found
