from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import paddle
import pytest
from support.backbones import NATIVE

from ppcls_compress import models
from ppcls_compress.errors import ConfigError
from ppcls_compress.models import catalog

VISION = [name for name in catalog.names() if catalog.get(name).module == "vision"]


def expand(text):
    """`a{b,c}` -> `ab`, `ac`, as a shell does."""
    head, brace, rest = text.partition("{")
    if not brace:
        return [text]
    choices, _, tail = rest.partition("}")
    return [head + choice + more for choice in choices.split(",") for more in expand(tail)]


def test_the_readme_lists_every_native_backbone():
    text = (Path(__file__).parents[2] / "README.md").read_text()
    rows = re.search(r"## Backbones.*?(\|.*\|)\n\n", text, re.DOTALL)[1].splitlines()[2:]
    listed = [name for row in rows for pattern in re.findall(r"`([^`]+)`", row) for name in expand(pattern)]
    assert sorted(listed) == sorted(NATIVE)


def test_knows_the_names_of_paddleclas():
    expected = {f"ResNet{depth}{suffix}" for depth in (18, 34, 50, 101, 152) for suffix in ("", "_vd")}
    expected |= {"ResNet200_vd", "ResNet50_last_stage_stride1"}
    expected |= {
        f"MobileNetV3_{size}_x{width}"
        for size in ("small", "large")
        for width in ("0_35", "0_5", "0_75", "1_0", "1_25")
    }
    expected |= {f"PPLCNet_x{width}" for width in ("0_25", "0_35", "0_5", "0_75", "1_0", "1_5", "2_0", "2_5")}
    expected |= {"PPHGNet_tiny", "PPHGNet_small", "PPHGNet_base"}
    expected |= {f"CIFARResNet{depth}" for depth in (8, 20, 32, 56, 110)}
    assert expected <= set(catalog.names())


def test_knows_every_network_of_paddle():
    factories = {name for name in paddle.vision.models.__all__ if name[0].islower()}
    assert set(VISION) == factories | {"LeNet"}


def test_importing_the_catalogue_does_not_import_paddle():
    check = "from ppcls_compress.models import catalog; catalog.check('ResNet18', {})"
    code = f"{check}; import sys; print('paddle' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_accepts_what_configs_of_paddleclas_say():
    catalog.check("ResNet50_vd", {"class_num": 102, "pretrained": True, "use_ssld": True, "lr_mult_list": [0.1] * 5})
    catalog.check("ResNet50", {"class_num": "10", "data_format": "NHWC", "input_image_channel": 4, "pretrained": "a/b"})
    catalog.check("PPLCNet_x1_0", {"lr_mult_list": [0.0, 0.4, 0.4, 0.8, 0.8, 1.0], "use_last_conv": False})
    catalog.check("MobileNetV3_large_x1_0", {"dropout_prob": "1e-1", "class_expand": 512})
    catalog.check("mobilenet_v2", {"scale": 0.5})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ResNet50vd", {}, r"Arch\.name: unknown architecture 'ResNet50vd'; did you mean 'ResNet50_vd'\?"),
        (
            "ResNet18",
            {"layer_type": "DiverseBranchBlock", "data_format": "NHWC"},
            "Arch: layer_type DiverseBranchBlock is for data_format NCHW only",
        ),
        ("ResNet50", {"lr_mult": 1}, r"Arch: unknown key 'lr_mult'; did you mean 'lr_mult_list'\?"),
        ("ResNet50", {"dropout_prob": 0.1}, r"Arch: unknown key 'dropout_prob'"),
        ("ResNet50", {"class_num": "ten"}, r"Arch\.class_num: expected a valid integer.*found 'ten'"),
        ("ResNet50", {"class_num": 0}, r"Arch\.class_num: expected greater than or equal to 1, found 0"),
        ("ResNet50", {"pretrained": 3.5}, r"Arch\.pretrained: .*found 3\.5"),
        ("ResNet50", {"lr_mult_list": [1, 1, 1]}, r"Arch\.lr_mult_list: .*at least 5 items.*found \[1, 1, 1\]"),
        ("ResNet50", {"lr_mult_list": [1, -1, 1, 1, 1]}, r"Arch\.lr_mult_list\.1: expected greater than or equal to 0"),
        ("ResNet50", {"stride_list": [2, 2, 2, 2, 0]}, r"Arch\.stride_list\.4: expected a number from 1 to 4.*found 0"),
        ("ResNet50", {"stride_list": [2, [2, 5], 2, 2, 2]}, r"Arch\.stride_list\.1: .* or two of them.*found \[2, 5\]"),
        ("ResNet50", {"data_format": "NCWH"}, r"Arch\.data_format: expected 'NCHW' or 'NHWC', found 'NCWH'"),
        ("ResNet50", {"use_first_short_conv": False}, r"Arch\.use_first_short_conv: expected True, found False"),
        (
            "ResNet50_last_stage_stride1",
            {"stride_list": [2] * 5},
            r"Arch\.stride_list: the last stride of this network",
        ),
        ("PPLCNet_x1_0", {"lr_mult_list": [1] * 5}, r"Arch\.lr_mult_list: .*at least 6 items"),
        ("PPLCNet_x1_0", {"act": "gelu"}, r"Arch\.act: expected 'hardswish', 'relu' or 'relu6', found 'gelu'"),
        ("MobileNetV3_small_x1_0", {"dropout_prob": 1.0}, r"Arch\.dropout_prob: expected less than 1, found 1\.0"),
        ("vgg16", {"batch_norm": 3}, r"Arch\.batch_norm: expected a valid boolean"),
        ("resnet18", {"scale": 0.5}, r"Arch: unknown key 'scale'"),
    ],
)
def test_refuses_with_the_key_and_what_is_allowed(name, options, message):
    with pytest.raises(ConfigError, match=message) as error:
        catalog.check(name, options)
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="Arch.Student"):
        catalog.check(name, options, where="Arch.Student")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("LeNet", (1, 28, 28)),
        ("alexnet", (3, 224, 224)),
        ("densenet121", (3, 64, 64)),
        ("googlenet", (3, 64, 64)),
        ("inception_v3", (3, 80, 80)),
        ("mobilenet_v3_small", (3, 64, 64)),
        ("resnext50_32x4d", (3, 64, 64)),
        ("shufflenet_v2_x0_25", (3, 64, 64)),
        ("squeezenet1_1", (3, 64, 64)),
    ],
)
def test_networks_of_paddle_give_logits(name, shape):
    net = models.build(name, class_num=3)
    net.eval()
    with paddle.no_grad():
        assert net(paddle.zeros([2, *shape])).shape == [2, 3]


def test_options_of_the_networks_of_paddle():
    assert models.build("mobilenet_v2", scale=0.25, class_num=3).classifier[1].weight.shape == [1280, 3]
    assert models.build("mobilenet_v1", scale=0.5, class_num=3).fc.weight.shape == [512, 3]
    assert any(isinstance(layer, paddle.nn.BatchNorm2D) for layer in models.build("vgg11", batch_norm=True).sublayers())
