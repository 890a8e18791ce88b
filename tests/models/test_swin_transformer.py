"""Attention in shifted windows against attention written out position by position."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from ppcls_compress import models
from ppcls_compress.models.swin_transformer import Rates, SwinBlock, shift_mask

SIZE, SHIFT, HEADS, CHANNELS = 4, 2, 2, 6


def written_out(block, x, height, width):
    """Attention of a block for one image [H, W, C]: who attends to whom is found from positions alone."""
    attn = block.attn
    table, weight, bias = (t.numpy() for t in (attn.relative_position_bias_table, attn.qkv.weight, attn.qkv.bias))
    rows, columns = x.shape[:2]
    parts = (x.reshape(-1, CHANNELS) @ weight + bias).reshape(rows * columns, 3, HEADS, CHANNELS // HEADS)
    shift = block.shift
    # Where the shift brings each position, and whether that is at the other end of the map.
    places = [
        ((r - shift) % rows, (c - shift) % columns, r < shift, c < shift) for r in range(rows) for c in range(columns)
    ]
    result = np.zeros((rows * columns, HEADS, CHANNELS // HEADS))
    for i, (r, c, *ends) in enumerate(places):
        together, scores = [], []
        for j, (other_r, other_c, *other_ends) in enumerate(places):
            if (r // SIZE, c // SIZE) != (other_r // SIZE, other_c // SIZE):
                continue
            distance = (r - other_r + SIZE - 1) * (2 * SIZE - 1) + c - other_c + SIZE - 1
            products = (parts[i, 0] * parts[j, 1]).sum(-1) * (CHANNELS // HEADS) ** -0.5
            together.append(j)
            scores.append(products + table[distance] + (0.0 if ends == other_ends else -100.0))
        scores = np.exp(np.array(scores))
        result[i] = ((scores / scores.sum(0))[..., None] * parts[together, 2]).sum(0)
    y = result.reshape(-1, CHANNELS) @ attn.proj.weight.numpy() + attn.proj.bias.numpy()
    return y.reshape(rows, columns, CHANNELS)[:height, :width]


@pytest.mark.parametrize("shift", [0, SHIFT])
@pytest.mark.parametrize(("height", "width"), [(8, 12), (4, 4), (7, 8)])
def test_windows_shifts_and_padding(height, width, shift):
    paddle.seed(0)
    block = SwinBlock(CHANNELS, SIZE, HEADS, shift=shift, rates=Rates(0.0, 0.0, 0.0))
    for parameter in block.parameters():
        parameter.set_value(paddle.randn(parameter.shape))
    x = np.random.RandomState(0).randn(1, height, width, CHANNELS).astype("float32")
    found = block._attended(paddle.to_tensor(x)).numpy()[0]
    grows = height % SIZE or width % SIZE
    rows, columns = (length + SIZE - length % SIZE if grows else length for length in (height, width))
    whole = np.zeros((rows, columns, CHANNELS), "float32")
    whole[:height, :width] = x[0]
    np.testing.assert_allclose(found, written_out(block, whole, height, width), rtol=1e-3, atol=1e-4)


def test_the_mask_is_made_for_each_window():
    assert shift_mask(8, 12, SIZE, SHIFT).shape == (6, 16, 16)
    assert not shift_mask(8, 12, SIZE, SHIFT)[0].any()


def test_options():
    net = models.build(
        "SwinTransformer_tiny_patch4_window7_224", drop_rate=0.1, attn_drop_rate=0.2, drop_path_rate=0.3, class_num=4
    )
    block = net.layers[3].blocks[1]
    assert (net.pos_drop.p, block.mlp.drop.p, block.attn.proj_drop.p, block.attn.attn_drop.p) == (0.1, 0.1, 0.1, 0.2)
    assert block.drop_path.p == pytest.approx(0.3)
    assert net.layers[0].blocks[0].drop_path.p == 0
    assert net.head.weight.shape == [768, 4]
    assert models.build("SwinTransformer_tiny_patch4_window7_224").layers[3].blocks[1].drop_path.p == pytest.approx(0.2)
