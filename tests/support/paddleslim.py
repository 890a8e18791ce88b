"""PaddleSlim in tests: the installed one, or a stand-in that hands over to Paddle as PaddleSlim's QAT does."""

from __future__ import annotations

import sys
from types import ModuleType

import paddle
import pytest

from ppcls_compress.errors import MissingDependencyError
from ppcls_compress.slim.paddleslim import prune_backend, quant_backend  # noqa: F401  it registers


def live() -> None:
    """Skip the test where PaddleSlim is not installed."""
    try:
        prune_backend.load()
    except MissingDependencyError as error:
        pytest.skip(str(error))


def pretend(monkeypatch: pytest.MonkeyPatch, **classes: object) -> None:
    """Install a stand-in for PaddleSlim that has these classes."""
    package, dygraph, quant = (ModuleType(f"paddleslim{name}") for name in ("", ".dygraph", ".dygraph.quant"))
    package.dygraph, dygraph.quant = dygraph, quant
    for name, value in classes.items():
        setattr(quant if name == "QAT" else dygraph, name, value)
    for module in (package, dygraph, quant):
        monkeypatch.setitem(sys.modules, module.__name__, module)


class Pact(paddle.nn.Layer):
    """PaddleSlim's PACT, its formula and its start."""

    def __init__(self):
        super().__init__()
        attribute = paddle.ParamAttr(learning_rate=1000.0, initializer=paddle.nn.initializer.Constant(100.0))
        self.alpha = self.create_parameter([1], attribute)

    def forward(self, x):
        relu = paddle.nn.functional.relu
        return x - relu(x - self.alpha) + relu(-self.alpha - x)


class StandInQAT:
    """PaddleSlim's QAT as far as it is a layer over Paddle's."""

    def __init__(self, config, *, weight_preprocess=None, act_preprocess=None, weight_quantize=None, act_quantize=None):
        built_in = {"PACT": Pact, None: None}
        options = dict(config)
        options.pop("dtype")
        weight, activation = (options.pop(f"{name}_preprocess_type") for name in ("weight", "activation"))
        self._paddle = paddle.quantization.ImperativeQuantAware(
            **options,
            weight_preprocess_layer=weight_preprocess or built_in[weight],
            act_preprocess_layer=act_preprocess or built_in[activation],
            weight_quantize_layer=weight_quantize,
            act_quantize_layer=act_quantize,
        )

    def quantize(self, model):
        return self._paddle.quantize(model)
