"""The effect of each family's options."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from ppcls_compress import models
from ppcls_compress.models.cifar_resnet import PadShortcut
from ppcls_compress.models.layers import DropPath


def factors(net):
    """Learning rate factor -> the top-level parts whose trainable parameters have it."""
    found = {}
    for name, parameter in net.named_parameters():
        if parameter.trainable:
            found.setdefault(parameter.optimize_attr["learning_rate"], set()).add(name.partition(".")[0])
    return found


def sizes(net, image=64, channels=3):
    """Height of every convolution's output, by layer name."""
    found = {}
    hooks = [
        layer.register_forward_post_hook(lambda layer, x, y, name=name: found.__setitem__(name, y.shape[2]))
        for name, layer in net.named_sublayers()
        if isinstance(layer, paddle.nn.Conv2D)
    ]
    net.eval()
    with paddle.no_grad():
        net(paddle.zeros([1, channels, image, image]))
    for hook in hooks:
        hook.remove()
    return found


def test_resnet_learning_rate_factors():
    net = models.build("ResNet18", lr_mult_list=[0.1, 0.2, 0.3, 0.4, 0.5])
    assert factors(net) == {
        0.1: {"stem"}, 0.2: {"blocks"}, 0.3: {"blocks"}, 0.4: {"blocks"}, 0.5: {"blocks"}, 1.0: {"fc"}
    }  # fmt: skip
    rates = {name: parameter.optimize_attr["learning_rate"] for name, parameter in net.named_parameters()}
    assert rates["blocks.0.short.bn.bias"] == 0.2
    assert rates["blocks.7.conv1.conv.weight"] == 0.5


def test_pplcnet_learning_rate_factors():
    net = models.build("PPLCNet_x0_25", lr_mult_list=[0.0, 0.4, 0.5, 0.8, 0.9, 0.7])
    assert factors(net) == {
        0.0: {"conv1"}, 0.4: {"blocks2"}, 0.5: {"blocks3"}, 0.8: {"blocks4"}, 0.9: {"blocks5"}, 0.7: {"blocks6"},
        1.0: {"last_conv", "fc"},
    }  # fmt: skip


def test_a_learning_rate_factor_of_zero_freezes():
    net = models.build("PPLCNet_x0_25", lr_mult_list=[0.0, 1.0, 1.0, 1.0, 1.0, 1.0], class_num=2)
    frozen, free = net.conv1.conv.weight.numpy(), net.blocks2[0].dw_conv.conv.weight.numpy()
    net(paddle.randn([2, 3, 32, 32])).square().mean().backward()
    paddle.optimizer.Momentum(0.1, parameters=net.parameters()).step()
    np.testing.assert_array_equal(net.conv1.conv.weight.numpy(), frozen)
    assert np.abs(net.blocks2[0].dw_conv.conv.weight.numpy() - free).max() > 0


@pytest.mark.parametrize("name", ["MobileNetV3_small_x0_35", "PPLCNet_x0_25"])
def test_weight_decay_spares_the_normalization_of_mobile_networks(name):
    net = models.build(name)
    for layer in net.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D):
            assert layer.weight.regularizer._coeff == layer.bias.regularizer._coeff == 0
        elif isinstance(layer, paddle.nn.Conv2D):
            assert layer.weight.regularizer is None


def test_resnet_strides():
    assert sizes(models.build("ResNet18"))["blocks.7.conv1.conv"] == 2
    found = sizes(models.build("ResNet18", stride_list=[1, 1, 1, 2, 2]))
    assert [found[name] for name in ("stem.0.conv", "blocks.0.conv0.conv", "blocks.2.conv1.conv")] == [64, 64, 64]
    assert [found[name] for name in ("blocks.4.conv0.conv", "blocks.6.conv0.conv")] == [32, 16]
    found = sizes(models.build("ResNet50_last_stage_stride1"))
    assert found["blocks.13.conv1.conv"] == found["blocks.13.short.conv"] == 4


@pytest.mark.parametrize(
    ("name", "last"), [("ResNet18_vd", "blocks.7.conv1.conv"), ("PPLCNet_x0_25", "blocks6.1.pw_conv.conv")]
)
def test_strides_of_height_and_width(name, last):
    net = models.build(name, stride_list=[2, [2, 1], [2, 1], [2, 1], [2, 1]])
    shapes = {}
    dict(net.named_sublayers())[last].register_forward_post_hook(lambda layer, x, y: shapes.update(last=y.shape))
    net.eval()
    net(paddle.zeros([1, 3, 64, 64]))
    assert shapes["last"][2:] == [2, 32]


def test_pplcnet_strides():
    assert sizes(models.build("PPLCNet_x0_25"))["blocks6.1.pw_conv.conv"] == 2
    found = sizes(models.build("PPLCNet_x0_25", stride_list=[1, 2, 1, 2, 1]))
    names = ["conv1.conv", *(f"blocks{stage}.0.dw_conv.conv" for stage in (2, 3, 4, 5, 6))]
    assert [found[name] for name in names] == [64, 64, 32, 32, 16, 16]


@pytest.mark.parametrize("name", ["ResNet18", "ResNet18_vd"])
def test_resnet_layouts_agree(name):
    channels_first = models.build(name, class_num=5)
    channels_last = models.build(name, class_num=5, data_format="NHWC")
    channels_last.set_state_dict(channels_first.state_dict())
    channels_first.eval()
    channels_last.eval()
    x = paddle.randn([2, 3, 64, 64])
    with paddle.no_grad():
        np.testing.assert_allclose(channels_last(x).numpy(), channels_first(x).numpy(), rtol=1e-4, atol=1e-5)


def test_resnet_channels_and_stem():
    net = models.build("ResNet18", input_image_channel=1, stem_act=None, use_first_short_conv=False)
    assert net.stem[0].conv.weight.shape[1] == 1
    assert isinstance(net.stem[0].act, paddle.nn.Identity)
    keys = net.state_dict()
    assert "blocks.0.short.conv.weight" not in keys
    assert "blocks.2.short.conv.weight" in keys
    assert sizes(net, channels=1)


@pytest.mark.parametrize("name", ["MobileNetV3_small_x0_35", "PPLCNet_x0_25"])
def test_mobile_heads(name):
    net = models.build(name, class_expand=64, dropout_prob=0.5, class_num=7)
    assert net.last_conv.weight.shape[0] == 64
    assert net.fc.weight.shape == [64, 7]
    assert net.dropout.p == 0.5
    assert net.dropout.mode == "downscale_in_infer"
    assert sizes(net)


def test_mobilenet_inplanes_and_pplcnet_ending():
    assert models.build("MobileNetV3_small_x1_0", inplanes=32).conv.conv.weight.shape[0] == 32
    net = models.build("PPLCNet_x1_0", use_last_conv=False, act="relu", class_num=7)
    assert net.fc.weight.shape == [512, 7]
    assert not any(isinstance(layer, paddle.nn.Hardswish) for layer in net.sublayers())
    assert "last_conv.weight" not in net.state_dict()
    assert sizes(net)


def test_pphgnet_endings():
    net = models.build("PPHGNet_tiny", use_last_conv=False, class_num=7)
    assert net.fc.weight.shape == [768, 7]
    assert "last_conv.weight" not in net.state_dict()
    assert sizes(net)
    net = models.build("PPHGNet_tiny", class_expand=32, dropout_prob=0.3)
    assert (net.last_conv.weight.shape[0], net.dropout.p) == (32, 0.3)


def test_variants_end_as_paddleclas_has_them():
    x = paddle.randn([2, 3, 224, 224])
    with paddle.no_grad():
        codes = models.build("PPLCNet_x2_5_Tanh", class_num=8)(x)
        assert codes.shape == [2, 8]
        assert codes.abs().max() <= 1
        net = models.build("ResNet50_adaptive_max_pool2d", class_num=8)
        np.testing.assert_array_equal(net.avg_pool(x).numpy(), x.max([2, 3], keepdim=True).numpy())
    net = models.build("EfficientNetB3_watermark")
    assert [layer.weight.shape for layer in net._fc if hasattr(layer, "weight")] == [[1536, 625], [625, 256], [256, 2]]
    assert net._conv._bn._epsilon == 1e-5
    net = models.build("PPLCNetV2_base_ShiTu", class_expand=512, class_num=8)
    assert net.last_conv.bias is not None
    assert sizes(net)["stages.3.1.pw_conv.conv"] == 4
    assert isinstance(net.act, paddle.nn.Identity)


def test_pphgnet_base():
    net = models.build("PPHGNet_base", class_num=2)
    assert net.dropout.p == 0.2
    assert [len(stage.blocks) for stage in net.stages] == [1, 2, 3, 2]
    assert sizes(net, image=32)["stages.3.blocks.1.aggregation_conv.conv"] == 1


# He et al. 2016, table 6, in millions of parameters.
@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_cifar_resnets_have_the_size_of_the_paper(depth, millions):
    net = models.build(f"CIFARResNet{depth}")
    weighted = [layer for layer in net.sublayers() if isinstance(layer, paddle.nn.Conv2D | paddle.nn.Linear)]
    assert len(weighted) == depth
    parameters = sum(parameter.size for parameter in net.parameters() if parameter.trainable)
    assert abs(parameters / 1e6 - millions) < 0.5 * 10 ** -len(str(millions).partition(".")[2]) * 2
    assert net.fc.weight.shape == [64, 10]


def test_cifar_resnet_sizes():
    found = sizes(models.build("CIFARResNet8"), image=32)
    assert [found[f"blocks.{block}.conv1.conv"] for block in range(3)] == [32, 16, 8]
    assert models.build("CIFARResNet8", input_image_channel=1).stem.conv.weight.shape[1] == 1


def test_pad_shortcut():
    shortcut = PadShortcut(2, 5, stride=2)
    assert shortcut.parameters() == []
    x = np.arange(2 * 2 * 4 * 4, dtype="float32").reshape(2, 2, 4, 4)
    y = shortcut(paddle.to_tensor(x)).numpy()
    np.testing.assert_array_equal(y[:, :2], x[:, :, ::2, ::2])
    assert y.shape == (2, 5, 2, 2)
    assert not y[:, 2:].any()
    shortcut.pad_before, shortcut.pad_after = 1, 0
    y = shortcut(paddle.to_tensor(x)).numpy()
    np.testing.assert_array_equal(y[:, 1:], x[:, :, ::2, ::2])
    assert y.shape == (2, 3, 2, 2)


@pytest.mark.parametrize("name", ["PPHGNetV2_B0", "PPLCNetV2_small", "ESNet_x0_25", "MobileNetV4_conv_small"])
def test_heads_of_the_newer_mobile_networks(name):
    rate = "drop_rate" if name.startswith("MobileNetV4") else "dropout_prob"
    net = models.build(name, class_expand=64, class_num=7, **{rate: 0.5})
    assert net.dropout.p == 0.5
    assert list(net.state_dict().values())[-2].shape == [64, 7]
    assert sizes(net)


@pytest.mark.parametrize(("name", "channels"), [("PPHGNetV2_B0", 1024), ("PPLCNetV2_small", 768)])
def test_heads_without_the_last_convolution(name, channels):
    net = models.build(name, use_last_conv=False, class_num=7)
    assert net.fc.weight.shape == [channels, 7]
    assert not {key for key in net.state_dict() if key.startswith(("last_conv", "lab"))}
    assert sizes(net)


def test_pphgnet_v2_learning_rate_factors():
    net = models.build("PPHGNetV2_B0", lr_mult_list=[0.1, 0.2, 0.3, 0.4, 0.5])
    rates = {name: parameter.optimize_attr["learning_rate"] for name, parameter in net.named_parameters()}
    assert rates["stem.stem1.conv.weight"] == 0.1
    assert rates["stages.3.blocks.0.layers.0.conv1.bn.bias"] == 0.5
    assert rates["stages.0.blocks.0.layers.0.lab.scale"] == pytest.approx(0.002)
    assert (rates["last_conv.weight"], rates["lab.scale"]) == (1.0, 0.01)


@pytest.mark.parametrize("name", ["ResNeXt50_32x4d", "SE_ResNet18_vd"])
def test_layouts_and_channels_of_older_residual_networks(name):
    channels_first = models.build(name, class_num=5, input_image_channel=4)
    channels_last = models.build(name, class_num=5, input_image_channel=4, data_format="NHWC")
    channels_last.set_state_dict(channels_first.state_dict())
    channels_first.eval()
    channels_last.eval()
    x = paddle.randn([2, 4, 64, 64])
    with paddle.no_grad():
        expected = channels_first(x).numpy()
        assert np.abs(channels_last(x).numpy() - expected).max() < 1e-4 * np.abs(expected).max()


# Millions of parameters that the papers, or PaddleClas' model list, give.
@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("ResNet50_vc", 25.6),
        ("ResNeXt50_vd_32x4d", 25.1),
        ("SE_ResNeXt50_32x4d", 27.6),
        ("Res2Net50_26w_4s", 25.7),
        ("Res2Net50_vd_26w_4s", 25.7),
        ("HRNet_W18_C", 21.3),
        ("MobileNetV4_conv_medium", 9.7),
        ("SwinTransformer_tiny_patch4_window7_224", 28.3),
        ("GhostNet_x1_3", 7.3),
        ("EfficientNetB3", 12.2),
        ("SqueezeNet1_1", 1.24),
        ("WideResNet", 1.47),
    ],
)
def test_networks_have_the_published_size(name, millions):
    net = models.build(name)
    parameters = sum(parameter.size for parameter in net.parameters() if "_mean" not in parameter.name)
    running = sum(2 * layer._mean.size for layer in net.sublayers() if isinstance(layer, paddle.nn.BatchNorm2D))
    assert abs((parameters - running) / 1e6 / millions - 1) < 0.02


@pytest.mark.usefixtures("small_classifiers")
def test_vgg_stops_the_gradient_of_its_first_blocks():
    frozen = {name for name, parameter in models.build("VGG11", stop_grad_layers=2).named_parameters()
              if parameter.stop_gradient}  # fmt: skip
    assert frozen == {"conv_block_1.conv1.weight", "conv_block_2.conv1.weight"}


def test_densenet_options():
    net = models.build("DenseNet121", bn_size=2, dropout=0.3)
    layer = net.db_conv_2.conv2_1
    assert layer.bn_ac_func1._conv.weight.shape[0] == 64
    assert (layer.dropout_func.p, layer.dropout_func.mode) == (0.3, "downscale_in_infer")


def test_efficientnet_options():
    override = {"drop_connect_rate": 0.4, "dropout_rate": 0.1, "batch_norm_momentum": 0.9, "batch_norm_epsilon": "1e-5"}
    net = models.build("EfficientNetB0", use_se=False, padding_type="DYNAMIC", override_params=override)
    small = models.build("EfficientNetB0_small")
    assert [list(t.shape) for t in net.state_dict().values()] == [list(t.shape) for t in small.state_dict().values()]
    assert (net._drop.p, small._drop.p, models.build("EfficientNetB2")._drop.p) == (0.1, 0.2, 0.3)
    norm = net._conv._bn
    assert (norm._momentum, norm._epsilon) == (0.9, 1e-5)
    rates = [layer.p for layer in net.sublayers() if type(layer).__name__ == "DropPath"]
    assert rates == pytest.approx([0.4 * index / 16 for index in range(16)])


@pytest.mark.parametrize("side", [224, 230, 197])
def test_efficientnet_pads_as_paddleclas(side):
    """A convolution padded on both sides, the first row and column cut off; the network is published for 224."""
    conv = models.build("EfficientNetB0")._ef._conv_stem._conv._conv._conv
    x = paddle.randn([1, 3, side, side])
    wide = paddle.nn.functional.conv2d(x, conv.weight, stride=2, padding=2)[:, :, 1:, 1:]
    np.testing.assert_allclose(conv(x).numpy(), wide.numpy(), rtol=1e-5, atol=1e-6)


def test_mobilenet_v4_options():
    net = models.build("MobileNetV4_conv_small", inplanes=16, drop_path_rate=0.17)
    assert net.conv_stem.conv.weight.shape[0] == 16
    rates = [block.drop_path.p for block in net.blocks]
    assert rates == pytest.approx([0.17 * index / 17 for index in range(17)])
    assert models.build("MobileNetV4_conv_large").conv_stem.conv.weight.shape[0] == 24


def test_wide_resnet_options():
    net = models.build("WideResNet", depth=10, widen_factor=4, dropout=0.2, class_num=5)
    assert net.fc.weight.shape == [256, 5]
    assert len(net.block1.layer) == 1
    assert net.block1.layer[0].dropout.p == 0.2
    found = sizes(net, image=32)
    assert [found[f"block{stage}.layer.0.conv2"] for stage in (1, 2, 3)] == [32, 16, 8]


def test_wide_resnet_activates_the_first_projection_only():
    net = models.build("WideResNet", depth=10)
    net.eval()
    for block, activated in ((net.block1.layer[0], True), (net.block2.layer[0], False)):
        x = paddle.randn([1, block.conv1.weight.shape[1], 8, 8])
        start = block.relu1(block.bn1(x)) if activated else x
        expected = block.convShortcut(start) + block.conv2(block.relu2(block.bn2(block.conv1(start))))
        np.testing.assert_allclose(block(x).numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


def test_drop_path_drops_whole_images_in_training_only():
    layer = DropPath(0.25)
    x = paddle.ones([4000, 2, 1, 1])
    y = layer(x).numpy()
    assert np.unique(y).tolist() == pytest.approx([0.0, 1 / 0.75])
    np.testing.assert_array_equal(y[:, 0], y[:, 1])
    assert abs((y == 0).mean() - 0.25) < 0.03
    layer.eval()
    np.testing.assert_array_equal(layer(x).numpy(), x.numpy())
