"""What the pruning tests share: small networks, and the exactness check spelled out once more, without the tool."""

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F

from ppcls_compress.slim.options.prune import PruneOptions
from ppcls_compress.slim.prune import prune


def outputs(net, inputs):
    net.eval()
    with paddle.no_grad():
        return [t.numpy() for t in paddle.utils.flatten(net(*inputs)) if isinstance(t, paddle.Tensor)]


def random_inputs(shapes):
    rng = np.random.default_rng(7)

    def draw(shape):
        if isinstance(shape, dict):
            return {key: draw(value) for key, value in shape.items()}
        return paddle.to_tensor(rng.standard_normal(shape).astype("float32"))

    return [draw(shape) for shape in shapes]


def randomize(net):
    """Weights at which no branch is silent, and f(0) != 0: batch norms with shifts, biases off zero."""
    rng = np.random.default_rng(3)
    for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
        if "variance" in name:
            tensor.set_value(rng.uniform(0.5, 1.5, tensor.shape).astype("float32"))
        elif len(tensor.shape) < 2 and "float" in str(tensor.dtype):
            tensor.set_value(tensor.numpy() + rng.normal(0, 0.2, tensor.shape).astype("float32"))
    return net


def masked_outputs(net, record, inputs):
    """The dense network's outputs with the removed positions of every recorded parameter axis zeroed."""
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    before = {name: tensors[name].numpy() for name in record["kept"]}
    for name, axes in record["kept"].items():
        value = before[name].copy()
        for axis, kept in axes.items():
            removed = np.setdiff1d(np.arange(value.shape[int(axis)]), kept)
            value[(slice(None),) * int(axis) + (removed,)] = 0
        tensors[name].set_value(value)
    found = outputs(net, inputs)
    for name, value in before.items():
        tensors[name].set_value(value)
    return found


def error(pruned, dense):
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(pruned, dense, strict=True))


def check_exact(build, shapes, options=None, tolerance=1e-5):
    """Prunes a network and compares it with the masked one; returns the pruned network and the record."""
    paddle.seed(11)
    with paddle.utils.unique_name.guard():
        net = randomize(build())
    state = {name: value.numpy() for name, value in net.state_dict().items()}
    net, record = prune(net, options or PruneOptions(), shapes)
    paddle.seed(12)
    with paddle.utils.unique_name.guard():
        dense = build()
    dense.set_state_dict(state)
    inputs = random_inputs(shapes)
    assert error(outputs(net, inputs), masked_outputs(dense, record, inputs)) < tolerance
    return net, record


class Net(nn.Layer):
    """conv -> norm -> `middle`(x, layers) -> conv -> pool -> fc, with extra layers by name."""

    def __init__(self, middle, width=16, out=None, data_format="NCHW", **layers):
        super().__init__()
        self.data_format = data_format
        self.stem = nn.Conv2D(3, width, 3, padding=1, data_format=data_format)
        self.norm = nn.BatchNorm2D(width, data_format=data_format)
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.last = nn.Conv2D(out or width, 8, 1, data_format=data_format)
        self.fc = nn.Linear(8, 5)
        self.middle = middle

    def forward(self, x):
        x = self.middle(self, F.relu(self.norm(self.stem(x))))
        return self.fc(self.last(x).mean([2, 3] if self.data_format == "NCHW" else [1, 2]))


def channels(net, name):
    return getattr(net, name).weight.shape[0]


def residual():
    return randomize(Net(lambda n, x: n.b(x + n.a(x)), a=nn.Conv2D(16, 16, 3, padding=1), b=nn.Sigmoid()))


def score(net, inputs):
    return float(1 + np.tanh(outputs(net, inputs)[0]).mean())
