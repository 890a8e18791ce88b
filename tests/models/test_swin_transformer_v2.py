"""Attention by cosines against attention written out position by position."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from ppcls_compress import models
from ppcls_compress.models import bridge, catalog, upstream
from ppcls_compress.models.swin_transformer import Rates, attended
from ppcls_compress.models.swin_transformer_v2 import SwinTransformerV2, SwinV2Block, distance_table

SIZE, SHIFT, HEADS, CHANNELS = 4, 2, 2, 6
TINY = "SwinTransformerV2_tiny_patch4_window8_256"


def bias_of(attn, down, right, trained):
    """Of two positions so many rows and columns apart, by the network that makes it."""
    apart = 8 * np.array([down, right]) / (trained - 1)
    apart = np.sign(apart) * np.log2(np.abs(apart) + 1) / 3
    first, last = attn.cpb_mlp[0], attn.cpb_mlp[2]
    hidden = np.maximum(apart @ first.weight.numpy() + first.bias.numpy(), 0)
    return 16 / (1 + np.exp(-hidden @ last.weight.numpy()))


def written_out(block, x, trained):
    attn = block.attn
    bias = np.concatenate([attn.q_bias.numpy(), np.zeros(CHANNELS), attn.v_bias.numpy()])
    rows, columns = x.shape[:2]
    parts = (x.reshape(-1, CHANNELS) @ attn.qkv.weight.numpy() + bias).reshape(-1, 3, HEADS, CHANNELS // HEADS)
    unit = parts / np.linalg.norm(parts, axis=-1, keepdims=True)
    scale = np.exp(np.minimum(attn.logit_scale.numpy()[:, 0, 0], np.log(100)))
    places = [
        ((r - block.shift) % rows, (c - block.shift) % columns, r < block.shift, c < block.shift)
        for r in range(rows)
        for c in range(columns)
    ]
    result = np.zeros((rows * columns, HEADS, CHANNELS // HEADS))
    for i, (r, c, *ends) in enumerate(places):
        together, scores = [], []
        for j, (other_r, other_c, *other_ends) in enumerate(places):
            if (r // SIZE, c // SIZE) != (other_r // SIZE, other_c // SIZE):
                continue
            cosine = (unit[i, 0] * unit[j, 1]).sum(-1)
            together.append(j)
            own = bias_of(attn, r - other_r, c - other_c, trained)
            scores.append(cosine * scale + own + (0.0 if ends == other_ends else -100.0))
        scores = np.exp(np.array(scores))
        result[i] = ((scores / scores.sum(0))[..., None] * parts[together, 2]).sum(0)
    y = result.reshape(-1, CHANNELS) @ attn.proj.weight.numpy() + attn.proj.bias.numpy()
    return y.reshape(rows, columns, CHANNELS)


@pytest.mark.parametrize(("shift", "trained"), [(0, 0), (SHIFT, 0), (SHIFT, 3)])
def test_windows_shifts_and_distances(shift, trained):
    paddle.seed(0)
    block = SwinV2Block(CHANNELS, SIZE, HEADS, shift=shift, trained=trained, rates=Rates(0.0, 0.0, 0.0))
    for parameter in block.parameters():
        parameter.set_value(paddle.randn(parameter.shape) * 0.5)
    block.attn.logit_scale.set_value(np.array([[[1.0]], [[9.0]]], "float32"))  # the second one is cut off
    x = np.random.RandomState(0).randn(1, 8, 12, CHANNELS).astype("float32")
    found = attended(block.attn, paddle.to_tensor(x), SIZE, shift, block.attn.projected).numpy()[0]
    np.testing.assert_allclose(found, written_out(block, x[0], trained or SIZE), rtol=1e-3, atol=1e-4)


def test_norms_come_after_what_they_normalize():
    block = SwinV2Block(CHANNELS, SIZE, HEADS, shift=0, trained=0, rates=Rates(0.0, 0.0, 0.0))
    x = paddle.randn([1, 4, 4, CHANNELS])
    y = x + block.norm1(attended(block.attn, x, SIZE, 0, block.attn.projected))
    np.testing.assert_allclose(block(x).numpy(), (y + block.norm2(block.mlp(y))).numpy(), rtol=1e-5)


def test_distances_are_on_a_logarithmic_scale():
    table = distance_table(4, 4)[0]
    np.testing.assert_allclose(table[3, 3], [0, 0])
    np.testing.assert_allclose(table[6, 0], [np.log2(9) / 3, -np.log2(9) / 3], rtol=1e-6)


def test_a_window_as_large_as_the_map_is_not_shifted():
    net = SwinTransformerV2(12, (2, 2, 2, 2), 3, 8, image=64)
    assert [(block.size, block.shift) for stage in net.layers for block in stage.blocks] == [
        (8, 0), (8, 4), (8, 0), (8, 0), (4, 0), (4, 0), (2, 0), (2, 0)
    ]  # fmt: skip
    assert net(paddle.zeros([1, 3, 64, 64])).shape == [1, 1000]


@pytest.mark.slow
def test_parameters_are_as_many_as_published():
    net = models.build(TINY)
    assert sum(parameter.size for parameter in net.parameters()) == 28_347_154
    assert catalog.get("SwinTransformerV2_large_patch4_window24_384").url.endswith("_22kto1k_pretrained.pdparams")


@pytest.mark.slow
@pytest.mark.skipif(upstream.root() is None, reason="PaddleClas is not installed")
@pytest.mark.parametrize("name", [TINY, "SwinTransformerV2_base_patch4_window24_384"])
def test_names_and_shapes_are_paddleclas(name):
    module = bridge.load(upstream.root(), "model_zoo.swin_transformer_v2")
    theirs = getattr(module, name)().state_dict()
    ours = models.build(name).state_dict()
    assert {k: v.shape for k, v in theirs.items() if "attn_mask" not in k} == {k: v.shape for k, v in ours.items()}
    table = "layers.1.blocks.0.attn.relative_coords_table"
    np.testing.assert_allclose(theirs[table].numpy(), ours[table].numpy(), atol=1e-6)
