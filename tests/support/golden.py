"""The networks behind `tests/data/paddleslim_masks`, with the weights that the masks were made with."""

import gzip
import importlib.util
import json
from pathlib import Path

import numpy as np
from paddle import nn

ROOT = Path(__file__).parents[2]
MASKS = ROOT / "tests" / "data" / "paddleslim_masks"

_spec = importlib.util.spec_from_file_location("benchmarks_common", ROOT / "benchmarks" / "common.py")
_common = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_common)
draw, fill = _common.draw, _common.fill


def load(name):
    """`cases`, or a network's name in `paddle.vision.models`."""
    return json.loads(gzip.decompress((MASKS / f"{name}.json.gz").read_bytes()))


class Residual(nn.Layer):
    def __init__(self, main, shortcut):
        super().__init__()
        self.main = build(main)
        self.shortcut = build(shortcut) if shortcut else None

    def forward(self, x):
        return self.main(x) + (self.shortcut(x) if self.shortcut is not None else x)


LAYERS = {
    "conv": lambda cin, cout, k, groups=1: nn.Conv2D(cin, cout, k, padding=k // 2, groups=groups, bias_attr=False),
    "bn": nn.BatchNorm2D,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "pool": nn.AvgPool2D,
    "flatten": nn.Flatten,
    "linear": nn.Linear,
    "residual": Residual,
}


def build(layers):
    """A network from its description in `cases`, with Paddle's initial weights."""
    return nn.Sequential(*[LAYERS[kind](*arguments) for kind, *arguments in layers])


def small(name, cases=None):
    """A network of `cases["nets"]` in eval mode, with its drawn weights."""
    net = build((cases or load("cases"))["nets"][name])
    fill(net)
    net.eval()
    return net


def convolution_parameters(net):
    """State-dict names of every parameter of every convolution, which is what the masks were asked for."""
    wanted = {
        value.name
        for layer in net.sublayers()
        if isinstance(layer, nn.Conv2D)
        for value in layer.parameters(include_sublayers=False)
    }
    return [key for key, value in net.state_dict().items() if value.name in wanted]


def plain(removed):
    """{name: {axis: array}} as the files spell it."""
    return {
        name: {str(axis): np.asarray(indices).tolist() for axis, indices in axes.items()}
        for name, axes in removed.items()
    }
