"""A network that fails while it is traced leaves nothing behind that the next one finds."""

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn.layer import layers
from paddle.pir import core
from paddle.static import InputSpec

from ppcls_compress.errors import UserError
from ppcls_compress.slim.graph import CaptureError, capture
from ppcls_compress.slim.tracing import lean_builder, parameter_recorder, save_program

SPEC = [InputSpec([1, 3, 4, 4])]


@pytest.fixture(autouse=True)
def _every_program_at_one_address(monkeypatch):
    """What otherwise happens to some programs only: each gets the key of the one that was freed before it."""
    monkeypatch.setattr(parameter_recorder, "_program_hash", lambda program: 1)


def fits(width: int) -> nn.Layer:
    net = nn.Sequential(nn.Conv2D(3, width, 1), nn.Flatten(), nn.Linear(width * 16, 2))
    net.eval()
    return net


class Refuses(nn.Layer):
    def forward(self, x):
        raise ValueError("refused")


def fails(first: nn.Layer) -> nn.Layer:
    """Gets as far as the first layer and its parameters."""
    return nn.Sequential(first, Refuses())


def test_a_failed_save_does_not_reach_the_next_one(tmp_path):
    first = nn.Conv2D(3, 8, 1)
    with pytest.raises(ValueError, match="refused"):
        save_program(fails(first), str(tmp_path / "bad"), SPEC)
    good, x = nn.Sequential(first, nn.ReLU()), paddle.randn([1, 3, 4, 4])
    save_program(good, str(tmp_path / "good"), SPEC)
    np.testing.assert_allclose(paddle.jit.load(str(tmp_path / "good"))(x).numpy(), good(x).numpy(), rtol=1e-5)


@pytest.mark.parametrize("use", ["capture", "save"])
def test_what_the_users_own_failure_left_is_not_found(use, tmp_path):
    net = fits(8)
    with pytest.raises(ValueError, match="refused"):
        paddle.jit.save(fails(net[0]), str(tmp_path / "bad"), input_spec=SPEC)
    if use == "capture":
        assert set(capture(net, [[1, 3, 4, 4]]).parameters.values()) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    else:
        save_program(net, str(tmp_path / "good"), SPEC)
        assert paddle.jit.load(str(tmp_path / "good"))(paddle.ones([1, 3, 4, 4])).shape == [1, 2]


def test_a_mistake_is_seen_whatever_was_captured_before():
    net = fits(8)
    for _ in range(2):
        capture(net, [[1, 3, 4, 4]])
        with pytest.raises(CaptureError):
            capture(fails(net[0]), [[1, 3, 4, 4]])


def own_functions():
    return layers.name_struct, core.create_parameter


def test_paddles_own_functions_are_back_whatever_happened_while_they_were_exchanged():
    before = own_functions()
    with lean_builder(fits(8)):
        assert not set(own_functions()) & set(before)
        assert fits(8)(paddle.ones([1, 3, 4, 4])).shape == [1, 2]
    assert own_functions() == before
    with pytest.raises(CaptureError):
        capture(fails(nn.Conv2D(3, 8, 1)), [[1, 3, 4, 4]])
    assert own_functions() == before


def test_of_an_unknown_paddle_nothing_is_exchanged(monkeypatch):
    before = own_functions()
    known = capture(fits(8), [[1, 3, 4, 4]])
    monkeypatch.setattr(paddle, "__version__", "9.9.9")
    with lean_builder(fits(8)):
        assert own_functions() == before
    assert [op.name for op in capture(fits(8), [[1, 3, 4, 4]]).ops] == [op.name for op in known.ops]


class Looks(nn.Layer):
    """Notes what its forward pass sees of its parameters."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2D(3, 8, 1), nn.Conv2D(8, 8, 1), nn.Conv2D(8, 8, 1)
        self.norm = nn.BatchNorm2D(8)
        self.c.weight.stop_gradient = True
        self.seen = None

    def forward(self, x):
        parameters = [layer.weight for layer in (self.a, self.b, self.norm, self.c)] + [self.norm._mean, self.a.bias]
        self.seen = [
            (p.name, p.get_defining_op().name(), list(p.shape), p.dtype, p.stop_gradient, p.trainable, p.persistable)
            for p in parameters
        ]
        return self.c(self.norm(self.b(self.a(x))))


def test_parameters_made_by_example_are_what_paddle_makes_of_them(monkeypatch):
    net = Looks()
    capture(net, [[1, 3, 4, 4]])
    seen = net.seen
    assert [name for name, *_ in seen][:2] == [net.a.weight.name, net.b.weight.name]
    monkeypatch.setattr(paddle, "__version__", "9.9.9")
    capture(net, [[1, 3, 4, 4]])
    assert seen == net.seen


class Folds(nn.Layer):
    def __init__(self, **options):
        super().__init__()
        self.conv = nn.Conv2D(4, 4, 1)
        self.options = options

    def forward(self, x):
        batch, channels, height, width = x.shape
        blocks = nn.functional.unfold(x, kernel_sizes=[2, 4], strides=[2, 4])
        blocks = self.conv(blocks.reshape([batch, channels, 8, height * width // 8]))
        blocks = blocks.reshape([batch, channels * 8, height * width // 8])
        return nn.functional.fold(blocks, [height, width], [2, 4], [2, 4], **self.options)


@pytest.mark.parametrize("options", [{}, {"paddings": [0, 0], "dilations": 1}])
def test_blocks_side_by_side_are_folded_with_a_free_batch_size(tmp_path, options):
    net, fold = Folds(**options), nn.functional.fold
    save_program(net, str(tmp_path / "net"), [paddle.static.InputSpec([None, 4, 8, 8], "float32")])
    assert nn.functional.fold is fold
    saved = paddle.jit.load(str(tmp_path / "net"))
    for count in (1, 3):
        x = paddle.randn([count, 4, 8, 8])
        np.testing.assert_allclose(saved(x).numpy(), net(x).numpy(), rtol=1e-5, atol=1e-6)


def test_blocks_that_are_folded_otherwise_are_paddles(tmp_path):
    with pytest.raises(UserError, match=r"saving the network as a program: .*fails"):
        save_program(Folds(paddings=1), str(tmp_path / "net"), [paddle.static.InputSpec([None, 4, 8, 8], "float32")])


def test_what_a_network_takes_must_be_said_to_save_it(tmp_path):
    with pytest.raises(UserError, match=r"with no input_spec \(give one, .*\): Linear fails") as caught:
        save_program(nn.Linear(3, 4), str(tmp_path / "model"), None)
    assert "\n" not in str(caught.value)
    called = paddle.jit.to_static(nn.Linear(3, 4), full_graph=True)
    called(paddle.rand([1, 3]))
    save_program(called, str(tmp_path / "model"), None)
    assert (tmp_path / "model.json").exists()
