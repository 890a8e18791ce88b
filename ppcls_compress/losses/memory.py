"""The contrastive loss with a memory of earlier batches."""

from __future__ import annotations

from collections.abc import Callable

import paddle
import paddle.distributed as dist

from ppcls_compress.losses.pairs import contrast
from ppcls_compress.outputs import Output, identities


class CrossBatchMemory(paddle.nn.Layer):
    """See `contrastive.ContrastiveLoss_XBM`; what it remembers are buffers, for a checkpoint to hold.

    A batch that does not fit behind the last one takes the place of the end of the memory, and the next one starts at
    its beginning, as upstream. Several processes remember the batches of all of them, in the order of their ranks, so
    that the memory is the same everywhere and a checkpoint holds all of it.

    Args:
        features: takes the features [N, width] out of an output.
        size: features in the memory.
        weight: how much it counts.
        start: batches before it is used.
        rules: margin and epsilon of `pairs.contrast`.
    """

    def __init__(
        self,
        features: Callable[[Output], paddle.Tensor],
        *,
        size: int,
        width: int,
        weight: float,
        start: int,
        **rules: float,
    ) -> None:
        super().__init__()
        self.features, self.size, self.weight, self.start, self.rules = features, size, weight, start, rules
        self.register_buffer("feats", paddle.zeros([size, width]))
        self.register_buffer("targets", paddle.zeros([size], "int64"))
        self.register_buffer("counts", paddle.zeros([3], "int64"))  # batches seen, next place, places filled

    def forward(self, output: Output, labels: paddle.Tensor, images: paddle.Tensor | None = None) -> paddle.Tensor:
        """The loss of a batch, which is remembered once `start` batches are over."""
        features, labels = self.features(output), identities(labels)
        loss = contrast(features, labels, **self.rules)
        batches, place, filled = self.counts.tolist()
        if batches >= self.start:
            place, filled = self._remember(*_of_all_processes(features.detach(), labels), place, filled)
            known = (self.feats[:filled], self.targets[:filled])
            loss = loss + self.weight * contrast(features, labels, others=known, **self.rules)
        self.counts.set_value(paddle.to_tensor([batches + 1, place, filled]))
        return loss

    def _remember(self, features: paddle.Tensor, labels: paddle.Tensor, place: int, filled: int) -> tuple[int, int]:
        size, count = self.size, min(len(features), self.size)
        fits = place + count <= size
        start = place if fits else size - count
        with paddle.no_grad():
            self.feats[start : start + count] = features[-count:].astype(self.feats.dtype)
            self.targets[start : start + count] = labels[-count:]
        return (start + count if fits else 0), max(filled, start + count)


def _of_all_processes(features: paddle.Tensor, labels: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
    if dist.get_world_size() == 1:
        return features, labels
    parts: list[tuple] = []  # plain arrays, for the batches of processes may differ in size
    dist.all_gather_object(parts, (features.astype("float32").numpy(), labels.numpy()))
    everyone = [paddle.concat([paddle.to_tensor(part) for part in column]) for column in zip(*parts, strict=True)]
    return everyone[0], everyone[1]
