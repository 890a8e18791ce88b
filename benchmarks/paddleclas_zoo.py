"""Networks out of a PaddleClas checkout, without installing PaddleClas or importing the rest of it.

`PADDLECLAS_DIR` names a directory with `ppcls/arch/backbone` in it (a checkout, or the unpacked wheel).
"""

from __future__ import annotations

import ast
import importlib
import inspect
import logging
import os
import sys
import types
from pathlib import Path

BACKBONES = Path("ppcls") / "arch" / "backbone"

# The narrowest network of each family whose channels can be pruned, and where families are mixed, one of each kind.
CNNS = (
    "AdaFace_IR_18", "AdaFace_IR_SE_50", "AlexNet", "CSPDarkNet53", "ConvNeXt_tiny", "DLA34", "DLA46x_c", "DLA60",
    "DPN68", "DarkNet53", "DenseNet121", "ESNet_x0_25", "EfficientNetB0", "EfficientNetB0_small", "EfficientNetV2_S",
    "FasterNet_T0", "GhostNet_x0_5", "GoogLeNet", "HRNet_W18_C", "HarDNet39_ds", "HarDNet68", "InceptionV3",
    "InceptionV4", "MicroNet_M0", "MixNet_S", "MobileFaceNet", "MobileNeXt_x0_35", "MobileNetV1_x0_25",
    "MobileNetV2_x0_25", "MobileNetV3_large_x0_35", "MobileNetV3_small_x0_35", "MobileNetV4_conv_small",
    "PPHGNetV2_B0", "PPHGNetV2_B4", "PPHGNet_tiny", "PPLCNetV2_small", "PPLCNet_x0_25", "PeleeNet", "ReXNet_1_0",
    "RedNet26", "RegNetX_200MF", "RegNetX_4GF", "RepVGG_A0", "RepVGG_B1g2", "RepVGG_D2se", "Res2Net50_26w_4s",
    "Res2Net50_vd_26w_4s", "ResNeSt50", "ResNeSt50_fast_1s1x64d", "ResNeXt101_32x8d_wsl", "ResNeXt50_32x4d",
    "ResNeXt50_vd_32x4d", "ResNet18", "ResNet18_vd", "ResNet50", "ResNet50_last_stage_stride1", "ResNet50_vc",
    "ResNet50_vd", "SENet154_vd", "SE_HRNet_W64_C", "SE_ResNeXt50_32x4d", "SE_ResNeXt50_vd_32x4d", "SE_ResNet18_vd",
    "ShuffleNetV2_swish", "ShuffleNetV2_x0_25", "SqueezeNet1_0", "SqueezeNet1_1", "StarNet_S1", "TinyNet_A", "VAN_B0",
    "VGG11", "WideResNet", "Xception41", "Xception41_deeplab",
)  # fmt: skip
HYBRIDS = (
    "CvT_13_224", "DSNet_tiny", "LeViT_128S", "MobileNetV4_hybrid_medium", "MobileViTV2_x0_5", "MobileViTV3_XXS",
    "MobileViT_XXS", "NextViT_small_224", "PVT_V2_B0", "UniFormer_small",
)  # fmt: skip

# Arguments that have no default.
REQUIRED = {"WideResNet": {"depth": 28, "widen_factor": 2, "dropout": 0.0, "num_classes": 10}}


def directory() -> Path | None:
    """Where PADDLECLAS_DIR points to, or None when it is not set.

    Raises:
        SystemExit: it is set and holds no backbones.
    """
    value = os.environ.get("PADDLECLAS_DIR")
    if not value:
        return None
    root = Path(value).resolve()
    if not (root / BACKBONES).is_dir():
        raise SystemExit(f"PADDLECLAS_DIR={value}: no {BACKBONES} in it")
    return root


def modules(root: Path) -> dict[str, str]:
    """Backbone name -> module below `ppcls.arch.backbone`, read off its __init__.py without running it."""
    tree = ast.parse((root / BACKBONES / "__init__.py").read_text())
    return {
        alias.asname or alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module
        for alias in node.names
    }


def build(name: str, root: Path):
    """The network `name` with PaddleClas's own initial weights.

    Raises:
        KeyError: the checkout has no such backbone.
    """
    _stand_in(root)
    module = importlib.import_module(f"ppcls.arch.backbone.{modules(root)[name]}")
    # SE_HRNet looks its own address up in a table that lacks it.
    vars(module).get("MODEL_URLS", {}).setdefault(name, "")
    make = getattr(module, name)
    options = REQUIRED.get(name, {})
    if "pretrained" in inspect.signature(make).parameters:
        options = {**options, "pretrained": False}
    return make(**options)


def _stand_in(root: Path) -> None:
    """Put empty packages in the place of ppcls's own, whose imports need far more than a backbone does."""
    if "ppcls" in sys.modules:
        return
    for name in ("ppcls", "ppcls.arch", "ppcls.arch.backbone", "ppcls.utils"):
        package = types.ModuleType(name)
        package.__path__ = [str(root.joinpath(*name.split(".")))]
        sys.modules[name] = package
    members = {
        "save_load": {"load_dygraph_pretrain": _no_weights, "load_dygraph_pretrain_from_url": _no_weights},
        "download": {"get_weights_path_from_url": _no_weights},
        "config": {"AttrDict": _AttributeDict},
    }
    for name, values in members.items():
        module = types.ModuleType(f"ppcls.utils.{name}")
        vars(module).update(values)
        sys.modules[module.__name__] = module
        setattr(sys.modules["ppcls.utils"], name, module)
    logger = logging.getLogger("ppcls")
    sys.modules["ppcls.utils.logger"] = logger
    sys.modules["ppcls.utils"].logger = logger


class _AttributeDict(dict):
    """A dict whose keys can be read and set as attributes."""

    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__


def _no_weights(*_arguments, **_options):
    raise RuntimeError("pretrained weights are not loaded here")
