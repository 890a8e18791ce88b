import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_compress.slim.prune.cut.surgery import Surgery, sizes_of, take, view

KEPT = {0: np.array([0, 2, 3]), 1: np.array([1, 4])}


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int64"])
def test_take_picks_along_every_axis_whatever_the_type(dtype):
    values = np.arange(4 * 5 * 2).reshape(4, 5, 2)
    taken = take(paddle.to_tensor(values).astype(dtype), KEPT)
    assert str(taken.dtype) == f"paddle.{dtype}"
    np.testing.assert_array_equal(taken.astype("int64").numpy(), values[KEPT[0]][:, KEPT[1]])


def test_a_view_costs_no_copy_cannot_be_written_and_outlives_surgery():
    tensor = paddle.create_parameter([4, 5, 2], "float32")
    seen = view(tensor)
    assert seen.ctypes.data == tensor.data_ptr()
    assert not seen.flags.writeable
    before = seen.copy()
    surgery = Surgery()
    surgery.shrink({"w": tensor}, {"w": KEPT})
    tensor.set_value(paddle.zeros([3, 2, 2]))
    np.testing.assert_array_equal(seen, before)
    surgery.undo()
    assert tensor.data_ptr() == seen.ctypes.data
    assert view(paddle.ones([2]).astype("bfloat16")) is None


def test_undo_puts_parameters_buffers_and_attributes_back_in_their_order():
    norm = nn.BatchNorm2D(4)
    tensors = dict(norm.named_parameters()) | dict(norm.named_buffers())
    addresses = {name: tensor.data_ptr() for name, tensor in tensors.items()}
    surgery = Surgery()
    surgery.shrink(tensors, {name: {0: np.array([1, 3])} for name in tensors})
    surgery.set_attribute(norm, "_num_features", 2)
    surgery.set_attribute(norm, "_num_features", 1)
    assert (norm._num_features, norm.weight.shape) == (1, [2])
    surgery.undo()
    assert norm._num_features == 4
    assert {name: tensor.data_ptr() for name, tensor in tensors.items()} == addresses


def test_masking_zeroes_everything_but_the_kept_positions():
    tensor = paddle.create_parameter([4, 5, 2], "float32", default_initializer=nn.initializer.Constant(2.0))
    Surgery().mask({"w": tensor}, {"w": KEPT})
    wanted = np.zeros([4, 5, 2], dtype="float32")
    wanted[np.ix_(KEPT[0], KEPT[1])] = 2
    np.testing.assert_array_equal(tensor.numpy(), wanted)


def test_the_parameter_stays_the_same_object_with_its_settings():
    layer = nn.Conv2D(3, 4, 1, weight_attr=paddle.ParamAttr(learning_rate=0.5, trainable=False), bias_attr=False)
    weight = layer.weight
    name, kind = weight.name, type(weight)
    regularizer = weight.regularizer = paddle.regularizer.L2Decay(0.1)
    Surgery().shrink({"weight": weight}, {"weight": {0: np.array([0, 1])}})
    assert layer.weight is weight
    assert (weight.name, type(weight), weight.shape) == (name, kind, [2, 3, 1, 1])
    assert (weight.stop_gradient, weight.trainable) == (True, False)
    assert weight.optimize_attr == {"learning_rate": 0.5}
    assert weight.regularizer is regularizer


@pytest.mark.parametrize(
    ("layer", "sizes"),
    [
        (nn.Conv2D(4, 6, 1, groups=2), {"_in_channels": 4, "_out_channels": 6}),
        (nn.Conv1D(4, 6, 1), {"_in_channels": 4, "_out_channels": 6}),
        (nn.Conv2DTranspose(4, 6, 1, groups=2), {"_in_channels": 4, "_out_channels": 6}),
        (nn.BatchNorm2D(4), {"_num_features": 4}),
        (nn.GroupNorm(2, 4), {"_num_channels": 4}),
        (nn.PReLU(4), {"_num_parameters": 4}),
        (nn.InstanceNorm2D(4), {"_num_features": 4}),
        (nn.Sequential(nn.Linear(4, 6)), {}),
    ],
)
def test_sizes_that_layers_remember(layer, sizes):
    found = sizes_of(layer)
    assert found == sizes
    assert {name: getattr(layer, name) for name in found} == found
