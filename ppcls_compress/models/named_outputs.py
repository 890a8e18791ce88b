"""Networks that give several tensors by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import paddle


class NamedOutputs(paddle.nn.Layer):
    """A network that gives tensors by name.

    Attributes:
        exported: the one that is deployed.
        gives: those that it computes and gives.
    """

    exported: str
    gives: set[str]

    def leave_rest_out(self) -> None:
        """Drop the layers that what is deployed does without."""
        raise NotImplementedError(f"{type(self).__name__} has no leave_rest_out of its own")


@contextmanager
def as_deployed(network: paddle.nn.Layer) -> Iterator[None]:
    """Within the block, a network with named outputs computes the one that is deployed, and nothing else."""
    if not isinstance(network, NamedOutputs):
        yield
        return
    earlier, network.gives = network.gives, {network.exported}
    try:
        yield
    finally:
        network.gives = earlier
