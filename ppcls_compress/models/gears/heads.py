"""The heads: what a YAML may say of each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ppcls_compress.declare import Fraction, NonNegative, Number, Positive
from ppcls_compress.models.gears.base import HEADS, Attr, Head, built

if TYPE_CHECKING:
    import paddle

_Angle = Annotated[Number, Field(ge=0, lt=math.pi)]


@HEADS.declare
class FC(Head):
    """A linear classifier."""

    weight_attr: Attr = None
    bias_attr: Attr = None

    def build(self) -> paddle.nn.Layer:
        """`linear.FC`."""
        from ppcls_compress.models.gears.linear import FC as Layer

        return Layer(self.embedding_size, self.class_num, built(self.weight_attr), built(self.bias_attr))


class _Margin(Head):
    def build(self) -> paddle.nn.Layer:
        """The layer of the same name in `margins`."""
        from ppcls_compress.models.gears import margins

        return getattr(margins, type(self).__name__)(**self.model_dump())


@HEADS.declare
class ArcMargin(_Margin):
    """An angle is added to that of the right class (Deng et al. 2019)."""

    margin: _Angle = 0.5
    scale: Positive = 80.0
    easy_margin: bool = False


@HEADS.declare
class CosMargin(_Margin):
    """A margin is taken off the cosine of the right class (Wang et al. 2018)."""

    margin: NonNegative = 0.35
    scale: Positive = 64.0


@HEADS.declare
class CircleMargin(_Margin):
    """Each cosine counts by its distance from what it should be (Sun et al. 2020)."""

    margin: Annotated[Number, Field(gt=0, lt=1)]
    scale: Positive


@HEADS.declare
class AdaMargin(_Margin):
    """The margin grows with the length of the feature, which tells the image's quality (Kim et al. 2022).

    Attributes:
        m: the margin.
        h: how far the quality moves it.
        s: the scale.
        t_alpha: how fast the mean length and its deviation follow the batches.
    """

    embedding_size: int = Field(default=512, ge=1)
    class_num: int = Field(default=70722, ge=1)
    m: _Angle = 0.4
    h: Positive = 0.333
    s: Positive = 64.0
    t_alpha: Fraction = 1.0
