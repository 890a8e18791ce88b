"""On whole networks: pruned equals masked dense, nothing avoidable stays whole, records and checkpoints work."""

import json

import numpy as np
import paddle
import pytest
from paddle.vision import models as vision
from support.backbones import HEAVY, LARGER, SMALLEST, side
from support.pruning import check_exact, outputs, random_inputs

from ppcls_compress import models
from ppcls_compress.errors import UserError
from ppcls_compress.slim.options.prune import PruneOptions
from ppcls_compress.slim.prune import apply_record, prune

pytestmark = pytest.mark.usefixtures("small_classifiers")
FAST = ["mobilenet_v3_small", "shufflenet_v2_x0_25", "squeezenet1_1", "resnet18", "LeNet"]
SLOW = ["alexnet", "densenet121", "googlenet", "inception_v3", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large",
        "resnet50", "resnext50_32x4d", "shufflenet_v2_swish", "squeezenet1_0", "vgg11", "wide_resnet50_2"]  # fmt: skip
ENDS = {"SqueezeNet1_0": {"_conv9"}, "SqueezeNet1_1": {"_conv9"}}
"""Networks whose classifier is a convolution."""
SHUFFLING, SHUFFLING_SLOW = ["ShuffleNetV2_x0_25", "ESNet_x0_25"], ["ShuffleNetV2_swish", "ESNet_x1_0"]
SWIN = "SwinTransformer_tiny_patch4_window7_224"
SIZES = {"inception_v3": 299, "LeNet": 28, "alexnet": 224, "googlenet": 224}


def cases(fast, slow):
    return [*fast, *(pytest.param(name, marks=pytest.mark.slow) for name in slow)]


def shape_of(name):
    size = SIZES.get(name, 96 if name in (*FAST, *SLOW) else side(name, 32 if name.startswith("CIFAR") else 64))
    return [[1, 1 if name == "LeNet" else 3, size, size]]


@pytest.mark.parametrize("name", cases(FAST, SLOW))
def test_paddle_vision_networks_are_pruned_exactly(name):
    _, record = check_exact(lambda: getattr(vision, name)(), shape_of(name))
    assert record["after"]["flops"] < 0.75 * record["before"]["flops"]


EVERYWHERE = [name for name in SMALLEST if name not in (*SHUFFLING, SWIN, *HEAVY)]
EVERYWHERE_SLOW = [name for name in (*HEAVY, *LARGER) if name not in (*SHUFFLING_SLOW, SWIN)]


@pytest.mark.parametrize("name", cases(EVERYWHERE, EVERYWHERE_SLOW))
def test_native_backbones_are_pruned_exactly_and_everywhere(name):
    net, record = check_exact(lambda: models.build(name), shape_of(name))
    unused = {pin["layer"] for pin in record["pinned"] if pin["reason"] == "the forward pass does not reach it"}
    assert all(layer.endswith(".dw_conv") and name.startswith("PPLCNetV2") for layer in unused)
    assert {pin["layer"] for pin in record["pinned"]} - unused == ENDS.get(name, set())
    linear = {layer for layer, kind in net.named_sublayers() if isinstance(kind, paddle.nn.Linear)}
    for row in record["layers"]:
        assert row["after"]["flops"] < row["before"]["flops"] or row["name"] in linear, row
    assert len(net.parameters()) > 0


@pytest.mark.parametrize("name", cases(SHUFFLING, SHUFFLING_SLOW))
def test_networks_that_shuffle_keep_their_trunk_and_say_so(name):
    _, record = check_exact(lambda: models.build(name), shape_of(name))
    pinned = {pin["layer"].split(".")[-2] for pin in record["pinned"]}
    assert pinned
    assert pinned.isdisjoint({"_conv_pw", "_conv_pw_2", "_last_conv", "pw_1_1", "pw_2_1", "conv2", "last_conv"})
    assert record["after"]["flops"] < 0.7 * record["before"]["flops"]


@pytest.mark.slow
def test_transformers_prune_their_mlps_and_keep_attention_and_say_so():
    net, record = check_exact(lambda: models.build(SWIN), [[1, 3, 64, 64]], PruneOptions(prune_type="all"))
    for layer, kind in net.named_sublayers():
        if layer.endswith("mlp.fc1"):
            channels, hidden = kind.weight.shape
            assert hidden == round(0.7 * 4 * channels)
    pinned = {pin["layer"].rpartition(".")[2] for pin in record["pinned"]}
    assert pinned == {"proj", "qkv", "fc2", "reduction", "head"}
    with pytest.raises(UserError, match=r"no layer .* can be pruned; layer_norm: .*; prune_type: all takes linear"):
        prune(models.build(SWIN), PruneOptions(prune_type="conv"), [[1, 3, 64, 64]])


@pytest.mark.parametrize("name", ["CIFARResNet8", "PPLCNet_x0_25"])
@pytest.mark.parametrize(
    "options", [PruneOptions(pruned_ratio=0.7), PruneOptions(align=8), PruneOptions(scope="layer")]
)
def test_checkpoint_of_a_pruned_backbone_is_smaller_and_reloads(name, options, tmp_path):
    net, record = check_exact(lambda: models.build(name), shape_of(name), options)
    paddle.save(models.build(name).state_dict(), str(tmp_path / "dense.pdparams"))
    paddle.save(net.state_dict(), str(tmp_path / "pruned.pdparams"))
    assert (tmp_path / "pruned.pdparams").stat().st_size < 0.9 * (tmp_path / "dense.pdparams").stat().st_size
    fresh = apply_record(models.build(name), json.loads(json.dumps(record)))
    assert fresh.set_state_dict(net.state_dict()) == ([], [])
    inputs = random_inputs(shape_of(name))
    np.testing.assert_array_equal(outputs(fresh, inputs)[0], outputs(net, inputs)[0])
