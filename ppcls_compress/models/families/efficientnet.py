"""EfficientNet."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ppcls_compress.declare import Number, Options
from ppcls_compress.models.families.base import Arch, ArchOptions, Probability, published


class Overrides(Options):
    """What `override_params` may say.

    Attributes:
        batch_norm_momentum: share of the running statistics that stays at each step.
        batch_norm_epsilon: added to variances.
        dropout_rate: dropout before the classifier; the network's own, 0.2 to 0.5, when not given.
        drop_connect_rate: of the last block, by which whole images lose its branch in training; earlier blocks have
            less.
    """

    batch_norm_momentum: Probability = 0.99
    batch_norm_epsilon: Annotated[Number, Field(gt=0)] = 1e-3
    dropout_rate: Probability | None = None
    drop_connect_rate: Probability = 0.2


class EfficientNetOptions(ArchOptions):
    """EfficientNet.

    Attributes:
        padding_type: `SAME`, which is TensorFlow's for the network's own image size, or `DYNAMIC`, equal on all sides.
        use_se: gates.
        override_params: settings of batch norm and dropout.
    """

    padding_type: Literal["SAME", "DYNAMIC"] = "SAME"
    use_se: bool = True
    override_params: Overrides = Overrides()


class EfficientNetSmallOptions(EfficientNetOptions):
    """EfficientNetB0 without gates, padded the same on all sides."""

    padding_type: Literal["SAME", "DYNAMIC"] = "DYNAMIC"
    use_se: bool = False


class WatermarkOptions(EfficientNetOptions):
    """EfficientNetB3 that tells images with a watermark from others, as it is published."""

    class_num: Literal[2] = 2
    padding_type: Literal["SAME", "DYNAMIC"] = "DYNAMIC"
    override_params: Overrides = Overrides(batch_norm_epsilon=1e-5)


def _arch(size: str, scaling: tuple[float, ...], options: type[EfficientNetOptions] = EfficientNetOptions) -> Arch:
    name = f"EfficientNet{size}"
    arguments = dict(zip(("width", "depth", "side", "dropout"), scaling, strict=True))
    return Arch(name, "efficientnet", "EfficientNet", options, arguments, published(name, folder=""))


_WATERMARK = {"width": 1.2, "depth": 1.4, "side": 300, "dropout": 0.3, "hidden": (625, 256)}
_WATERMARK_WEIGHTS = (
    "https://paddleclas.bj.bcebos.com/models/practical/pretrained/EfficientNetB3_watermark_pretrained.pdparams"
)
ARCHS = (
    _arch("B0_small", (1.0, 1.0, 224, 0.2), EfficientNetSmallOptions),
    _arch("B0", (1.0, 1.0, 224, 0.2)),
    _arch("B1", (1.0, 1.1, 240, 0.2)),
    _arch("B2", (1.1, 1.2, 260, 0.3)),
    _arch("B3", (1.2, 1.4, 300, 0.3)),
    _arch("B4", (1.4, 1.8, 380, 0.4)),
    _arch("B5", (1.6, 2.2, 456, 0.4)),
    _arch("B6", (1.8, 2.6, 528, 0.5)),
    _arch("B7", (2.0, 3.1, 600, 0.5)),
    Arch("EfficientNetB3_watermark", "efficientnet", "EfficientNet", WatermarkOptions, _WATERMARK, _WATERMARK_WEIGHTS),
)
