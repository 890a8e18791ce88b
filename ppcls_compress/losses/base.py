"""What a loss declares, the registry of losses, and the sum of those that a configuration lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Union

from ppcls_compress.declare import Declarations, NonNegative, Options
from ppcls_compress.outputs import Output

if TYPE_CHECKING:
    import paddle

LossFunction = Callable[
    [Output, "paddle.Tensor", Union["paddle.Tensor", None]], Union["paddle.Tensor", Mapping[str, "paddle.Tensor"]]
]
"""The network's output as it is, the labels, and the images [N, C, H, W] to a scalar, or to several by name.

`ppcls_compress.outputs` has what takes the logits or a named part out of an output. Labels are int64 [N]; int64 [N, k],
an identity and what else is known of each image; or float32 [N, C], mixed or of several classes each. A loss that
learns parameters of its own is a `paddle.nn.Layer`.
"""


class Loss(Options):
    """One term of the `Loss` section, which counts `weight` times.

    Attributes:
        labels: what it takes, `classes` or `attributes`; None takes any.
    """

    labels: ClassVar[str | None] = None

    weight: NonNegative = 1.0

    def build(self) -> LossFunction:
        """The loss as a function; Paddle is imported here and not before."""
        raise TypeError(f"{type(self).__name__} has no build of its own")


LOSSES: Declarations[Loss] = Declarations("loss")


@dataclass(frozen=True)
class LossValue:
    """What a batch cost.

    Attributes:
        total: the sum that is differentiated, a scalar.
        terms: what it is made of, weighted, by name.
    """

    total: paddle.Tensor
    terms: dict[str, paddle.Tensor]


@dataclass(frozen=True)
class Term:
    """A loss that counts `weight` times, under a name that no other one has."""

    name: str
    weight: float
    function: LossFunction


class TotalLoss:
    """The weighted sum of losses, as one function of the network's output, the labels and the images."""

    def __init__(self, terms: Sequence[Term]) -> None:
        self.terms = tuple(terms)

    def __call__(self, output: Output, labels: paddle.Tensor, images: paddle.Tensor | None = None) -> LossValue:
        """The sum and its terms; a loss that gives several numbers has as many terms."""
        found: dict[str, paddle.Tensor] = {}
        for term in self.terms:
            value = term.function(output, labels, images)
            several = value if isinstance(value, Mapping) else {term.name: value}
            for name, number in several.items():
                found[_free(name, found)] = number * term.weight
        return LossValue(sum(found.values()), found)

    def layers(self) -> dict[str, paddle.nn.Layer]:
        """The losses that learn parameters of their own, by name."""
        import paddle

        return {term.name: term.function for term in self.terms if isinstance(term.function, paddle.nn.Layer)}

    def parameters(self) -> list[paddle.Tensor]:
        """What the losses learn."""
        return [parameter for layer in self.layers().values() for parameter in layer.parameters()]


def build_loss(entries: Sequence[Loss]) -> TotalLoss:
    """The sum of the listed losses; one that is listed twice is called `Name` and `Name_2`."""
    return TotalLoss(list(_terms(entries)))


def _terms(entries: Sequence[Loss]) -> Iterator[Term]:
    names: dict[str, None] = {}
    for entry in entries:
        name = _free(LOSSES.name_of(entry), names)
        names[name] = None
        yield Term(name, entry.weight, entry.build())


def _free(name: str, taken: Mapping[str, object]) -> str:
    """`name`, or with the first number behind it that makes it one that is not taken."""
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    return found
