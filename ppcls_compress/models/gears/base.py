"""What a neck and a head declare, their registries, and how a YAML describes a parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ppcls_compress.declare import Count, Declarations, NonNegative, Number, Options, Positive, named

if TYPE_CHECKING:
    import paddle


class Initializer(Options):
    """How a parameter starts; a name and options of `paddle.nn.initializer`."""

    def build(self) -> paddle.nn.initializer.Initializer:
        """Paddle's own of the same name."""
        import paddle

        return getattr(paddle.nn.initializer, type(self).__name__)(**self.model_dump())


INITIALIZERS: Declarations[Initializer] = Declarations("initializer")


@INITIALIZERS.declare
class Constant(Initializer):
    """One value throughout."""

    value: Number = 0.0


@INITIALIZERS.declare
class Normal(Initializer):
    """A normal distribution."""

    mean: Number = 0.0
    std: Positive = 1.0


@INITIALIZERS.declare
class TruncatedNormal(Normal):
    """A normal distribution, drawn again beyond two standard deviations."""


@INITIALIZERS.declare
class Uniform(Initializer):
    """A uniform distribution."""

    low: Number = -1.0
    high: Number = 1.0


class _Kaiming(Initializer):
    fan_in: Positive | None = None
    negative_slope: Number = 0.0
    nonlinearity: Literal["relu", "leaky_relu", "tanh", "sigmoid", "linear", "conv1d", "conv2d", "conv3d"] = "relu"


@INITIALIZERS.declare
class KaimingNormal(_Kaiming):
    """He et al. 2015, normal; `fan_in` in place of the parameter's own."""


@INITIALIZERS.declare
class KaimingUniform(_Kaiming):
    """He et al. 2015, uniform; `fan_in` in place of the parameter's own."""


class _Xavier(Initializer):
    fan_in: Positive | None = None
    fan_out: Positive | None = None


@INITIALIZERS.declare
class XavierNormal(_Xavier):
    """Glorot and Bengio 2010, normal."""


@INITIALIZERS.declare
class XavierUniform(_Xavier):
    """Glorot and Bengio 2010, uniform."""


class Decay(Options):
    """Weight decay of one parameter, in place of the optimizer's."""

    name: Literal["L1Decay", "L2Decay"]
    coeff: NonNegative = 0.0


class ParamAttr(Options):
    """A parameter: how it starts, a factor on its learning rate, a weight decay of its own."""

    initializer: named(INITIALIZERS, example="{name: Constant, value: 1.0}") | None = None
    learning_rate: NonNegative = 1.0
    regularizer: Decay | None = None

    def build(self) -> paddle.ParamAttr:
        """Paddle's own."""
        import paddle

        decay = self.regularizer
        return paddle.ParamAttr(
            initializer=self.initializer and self.initializer.build(),
            learning_rate=self.learning_rate,
            regularizer=decay and getattr(paddle.regularizer, decay.name)(decay.coeff),
        )


Attr = ParamAttr | bool | None
"""A parameter as described; None as Paddle has it by default, and so True; False leaves it out."""


def built(attr: Attr) -> paddle.ParamAttr | bool | None:
    """What a layer of Paddle takes as `weight_attr` or `bias_attr`."""
    if isinstance(attr, ParamAttr):
        return attr.build()
    return False if attr is False else None


class Neck(Options):
    """`Arch.Neck`: from the backbone's output to the feature."""

    def build(self) -> paddle.nn.Layer:
        """The layer, called with a tensor; Paddle is imported here and not before."""
        raise TypeError(f"{type(self).__name__} has no build of its own")


class Head(Options):
    """`Arch.Head`: from the feature to the logits.

    Attributes:
        embedding_size: width of the feature.
        class_num: identities that are told apart in training.
    """

    embedding_size: Count = Field()
    class_num: Count = Field()

    def build(self) -> paddle.nn.Layer:
        """The layer, called with features [N, embedding_size] and, in training, labels."""
        raise TypeError(f"{type(self).__name__} has no build of its own")


NECKS: Declarations[Neck] = Declarations("neck")
HEADS: Declarations[Head] = Declarations("head")
