"""The necks: what a YAML may say of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from ppcls_compress.declare import Count
from ppcls_compress.models.gears.base import NECKS, Attr, Neck, built

if TYPE_CHECKING:
    import paddle

_Size = Annotated[int, Field(ge=0)]


@NECKS.declare
class FC(Neck):
    """A linear layer from `embedding_size` to `class_num` numbers."""

    embedding_size: Count
    class_num: Count
    weight_attr: Attr = None
    bias_attr: Attr = None

    def build(self) -> paddle.nn.Layer:
        """`linear.FC`."""
        from ppcls_compress.models.gears.linear import FC as Layer

        return Layer(self.embedding_size, self.class_num, built(self.weight_attr), built(self.bias_attr))


@NECKS.declare
class BNNeck(Neck):
    """A batch norm between the feature that is compared and the one that is classified (Luo et al. 2019)."""

    num_features: Count
    weight_attr: Attr = None
    bias_attr: Attr = None
    use_global_stats: bool | None = None

    def build(self) -> paddle.nn.Layer:
        """`linear.BNNeck`."""
        from ppcls_compress.models.gears.linear import BNNeck as Layer

        return Layer(self.num_features, built(self.weight_attr), built(self.bias_attr), self.use_global_stats)


@NECKS.declare
class MetaBNNeck(BNNeck):
    """`BNNeck` as MetaBIN has it (Choi et al. 2021), which counts with the statistics of each batch in training.

    Attributes:
        use_global_stats: without effect, as in PaddleClas.
    """

    def build(self) -> paddle.nn.Layer:
        """`linear.BNNeck`."""
        return BNNeck.build(self.model_copy(update={"use_global_stats": None}))


@NECKS.declare
class VehicleNeck(Neck):
    """A convolution over what the backbone pooled, flattened; `weight_attr` is that of the bias too, as upstream."""

    in_channels: Count
    out_channels: Count
    kernel_size: Count = 1
    stride: Count = 1
    padding: _Size = 0
    dilation: Count = 1
    groups: Count = 1
    padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros"
    weight_attr: Attr = None
    data_format: Literal["NCHW", "NHWC"] = "NCHW"

    def build(self) -> paddle.nn.Layer:
        """`linear.VehicleNeck`."""
        from ppcls_compress.models.gears.linear import VehicleNeck as Layer

        settings = self.model_dump(exclude={"weight_attr"})
        return Layer(weight_attr=built(self.weight_attr), bias_attr=built(self.weight_attr), **settings)


@NECKS.declare
class FRFNNeck(Neck):
    """Two linear layers and a length of one."""

    num_features: Count
    low_dim: Count

    def build(self) -> paddle.nn.Layer:
        """`linear.FRFNNeck`."""
        from ppcls_compress.models.gears.linear import FRFNNeck as Layer

        return Layer(self.num_features, self.low_dim)


@NECKS.declare
class Tanh(Neck):
    """The hyperbolic tangent, for codes of bits."""

    def build(self) -> paddle.nn.Layer:
        """Paddle's own."""
        import paddle

        return paddle.nn.Tanh()
