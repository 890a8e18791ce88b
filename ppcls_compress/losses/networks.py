"""What losses of several networks share: which networks, and which of their outputs.

The output of several networks is a mapping by their names. In evaluation one network alone answers, the one that is
deployed; its output is taken as it is. Terms have PaddleClas' names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ppcls_compress.losses.base import Loss, LossFunction
from ppcls_compress.outputs import Output, logits_of, of_network, part

if TYPE_CHECKING:
    import paddle

Pair = tuple[str, str]
Between = Callable[["paddle.Tensor", "paddle.Tensor", "paddle.Tensor"], "paddle.Tensor"]
"""What the first and the second network of a pair give, and the labels, to a scalar."""


class NetworkLoss(Loss):
    """A loss of the outputs of named networks."""

    @property
    def networks(self) -> tuple[str, ...]:
        """The names of all networks whose outputs it needs."""
        raise TypeError(f"{type(self).__name__} names no networks")

    def counts_on(self, network: str) -> tuple[str | None, ...]:
        """The tensors of a network's output that must keep their channels, None for its logits."""
        return ()


class EachNetworkLoss(NetworkLoss):
    """A loss of each of some networks by itself.

    Attributes:
        model_names: those networks.
        key: which tensor of a network's output; None for its logits.
        name: what the terms are called; None for PaddleClas' name.
    """

    model_names: Annotated[tuple[str, ...], Field(min_length=1)]
    key: str | None = None
    name: str | None = None

    @property
    def networks(self) -> tuple[str, ...]:
        """As they are listed."""
        return self.model_names

    def each(self, prefix: str, own: LossFunction) -> LossFunction:
        """A function with a term for each network, of a loss of one."""

        def loss(output: Output, labels: paddle.Tensor, images: paddle.Tensor | None) -> dict[str, paddle.Tensor]:
            return {
                f"{self.name or prefix}_{network}": own(taken(output, network, self.key), labels, images)
                for network in self.model_names
            }

        return loss


class PairsLoss(NetworkLoss):
    """A loss between the networks of each of some pairs.

    Attributes:
        model_name_pairs: `[[Student, Teacher]]`; the first of each learns from the second.
    """

    model_name_pairs: Annotated[tuple[Pair, ...], Field(min_length=1)] = (("Student", "Teacher"),)

    @property
    def networks(self) -> tuple[str, ...]:
        """Of all pairs, each once."""
        return tuple(dict.fromkeys(network for pair in self.model_name_pairs for network in pair))


class PairLoss(PairsLoss):
    """A loss between the same output of both networks of a pair.

    Attributes:
        key: which tensor of a network's output; None for its logits.
        name: what the terms are called; None for PaddleClas' name.
    """

    key: str | None = None
    name: str | None = None

    def counts_on(self, network: str) -> tuple[str | None, ...]:
        """What is compared, which is as large in both networks."""
        return (self.key,) if network in self.networks else ()

    def each(self, prefix: str, between: Between, *, numbered: bool = False) -> LossFunction:
        """A function with a term for each pair.

        Args:
            prefix: of the terms' names.
            numbered: whether these end with the number of the pair.
        """

        def loss(output: Output, labels: paddle.Tensor, images: paddle.Tensor | None) -> dict[str, paddle.Tensor]:
            terms = {}
            for index, (first, second) in enumerate(self.model_name_pairs):
                ending = f"_{index}" if numbered else ""
                value = between(taken(output, first, self.key), taken(output, second, self.key), labels)
                terms[f"{self.name or prefix}_{first}_{second}{ending}"] = value
            return terms

        return loss


def taken(output: Output, network: str, key: str | None) -> paddle.Tensor:
    """A tensor of one network in float32, which sums of logarithms need; its logits where `key` is None.

    Where one network alone answers, its output is taken as it is.
    """
    own = of_network(output, network)
    return (logits_of(own) if key is None else part(own, key)).astype("float32")
