"""The code of a class is converted once for all of its layers, and each of them is written as what it is."""

import functools

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.jit.dy2static import convert_call_func, program_translator
from paddle.static import InputSpec

from ppcls_compress.slim.conversion import converted_once, prepare
from ppcls_compress.slim.tracing import save_program


def doubled(forward):
    @functools.wraps(forward)
    def twice(self, x):
        return forward(self, forward(self, x))

    return twice


class Block(nn.Layer):
    """Computes what its attributes say."""

    def __init__(self, factor, steps):
        super().__init__()
        self.factor, self.steps = factor, steps
        self.scale = self.create_parameter([1], default_initializer=nn.initializer.Constant(factor))

    def forward(self, x):
        for _ in range(self.steps):
            x = x * self.scale
        if self.factor > 2:
            x = x + x.shape[0]
        return self.last(x)

    def last(self, x):
        return x - self.factor


class Other(Block):
    """Overrides what its parent's forward pass calls, and reaches that by `super()`."""

    def last(self, x):
        return super().last(x) * 3


class Decorated(Block):
    @doubled
    def forward(self, x):
        return x + self.scale


FACTOR = 2


class ReadsGlobals(nn.Layer):
    def forward(self, x):
        return x * FACTOR


@pytest.fixture
def net():
    blocks = nn.Sequential(Block(2, 1), Block(3, 2), Other(5, 1), Decorated(7, 1), Block(2, 3), Decorated(2, 1))
    blocks.eval()
    return blocks


def test_layers_of_one_class_are_written_as_they_are(net, tmp_path):
    save_program(net, str(tmp_path / "net"), [InputSpec([None, 4], "float32")])
    saved = paddle.jit.load(str(tmp_path / "net"))
    for count in (1, 3):
        x = paddle.randn([count, 4])
        np.testing.assert_allclose(saved(x).numpy(), net(x).numpy(), rtol=1e-5)


@pytest.mark.skipif(
    paddle.__version__.startswith("3.0."), reason="PaddlePaddle 3.0 itself keeps the globals of the first program"
)
def test_globals_count_as_they_are_when_a_program_is_built(tmp_path, monkeypatch):
    x = paddle.ones([1, 4])
    for factor in (2, 3):
        monkeypatch.setitem(globals(), "FACTOR", factor)
        save_program(nn.Sequential(ReadsGlobals()), str(tmp_path / "net"), [InputSpec([None, 4], "float32")])
        assert paddle.jit.load(str(tmp_path / "net"))(x).numpy().tolist() == [[factor] * 4]


def test_each_function_is_converted_once(net, tmp_path, monkeypatch):
    converted, convert = [], program_translator.FunctionCache._convert
    monkeypatch.setattr(
        program_translator.FunctionCache,
        "_convert",
        lambda cache, function: converted.append(function.__qualname__) or convert(cache, function),
    )
    save_program(net, str(tmp_path / "net"), [InputSpec([None, 4], "float32")])
    assert {"Block.last", "Other.last"} <= set(converted)
    assert len(converted) == len(set(converted))


def test_layers_and_functions_are_told_apart_as_paddle_does():
    prepare()
    with converted_once():
        for _ in range(2):  # the second answers are kept ones
            assert convert_call_func.is_unsupported(np.sum)
            assert convert_call_func.is_unsupported(nn.ReLU())
            assert not convert_call_func.is_unsupported(Block(2, 1))
            assert not convert_call_func.is_unsupported(Block(2, 1).last)


def test_paddles_own_functions_are_back_after_a_failure():
    before = program_translator._FUNCTION_CACHE, convert_call_func.is_unsupported
    with pytest.raises(ValueError, match="stop"), converted_once():
        raise ValueError("stop")
    assert before == (program_translator._FUNCTION_CACHE, convert_call_func.is_unsupported)
