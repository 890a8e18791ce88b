from dataclasses import replace

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.utils import unique_name
from support.onnx_extras import needs_onnx

pytest.importorskip("onnxscript")
pytestmark = needs_onnx

from ppcls_compress.deploy.imported import network, source, weights  # noqa: E402
from ppcls_compress.deploy.network import logits_of  # noqa: E402
from ppcls_compress.errors import UserError  # noqa: E402
from ppcls_compress.slim.tracing import save_program  # noqa: E402

SHAPE = (3, 8, 8)
IMAGES = np.random.default_rng(0).standard_normal((6, *SHAPE)).astype(np.float32)


class Net(nn.Layer):
    """A convolution with a norm, a depthwise one with a gate, and one whose bias is its own."""

    def __init__(self, stride=2, classes=4):
        super().__init__()
        self.stem = nn.Conv2D(3, 6, 3, stride=stride, padding=1, bias_attr=False)
        self.norm = nn.BatchNorm2D(6)
        self.act = nn.PReLU(6)
        self.depth = nn.Conv2D(6, 6, 3, padding=1, groups=6)
        self.gate = nn.Hardsigmoid()
        self.head = nn.Linear(6, classes)

    def forward(self, x):
        x = self.act(self.norm(self.stem(x)))
        return self.head((x * self.gate(self.depth(x))).mean([2, 3]))


def filled(model, seed):
    rng = np.random.default_rng(seed)
    for value in model.state_dict().values():
        value.set_value((rng.uniform(0.2, 1.0, value.shape) * rng.choice([-1, 1], value.shape)).astype(np.float32))
    model.norm._variance.set_value(np.abs(model.norm._variance.numpy()))
    model.eval()
    return model


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    with unique_name.guard():
        model = filled(Net(), 1)
    save_program(model, str(folder / "inference"), [paddle.static.InputSpec([None, *SHAPE], "float32", "x")])
    return model, network.open_network(source.find(folder), IMAGES)


def folded(found):
    """As an exporter writes it that folds batch norms and drops names."""
    return replace(found, untidied=found.graph)


def test_a_program_of_paddle_answers_as_it_did(exported):
    model, found = exported
    np.testing.assert_allclose(found.runner()(IMAGES), logits_of(model, IMAGES), rtol=1e-4, atol=1e-5)
    assert (found.source.kind, found.output) == (".json", "logits")


@pytest.mark.parametrize("how", ["names", "operators"])
def test_weights_of_which_nothing_was_folded_come_back_as_they_were(exported, how):
    model, found = exported
    with unique_name.guard("" if how == "names" else "other_"):
        fresh = filled(Net(), 9)
    assert weights.import_weights(fresh, found, IMAGES).how == how
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(fresh.state_dict()[key].numpy(), value.numpy(), err_msg=key)


def test_a_folded_norm_gets_the_statistics_of_what_it_reads(exported):
    model, found = exported
    fresh = filled(Net(), 9)
    done = weights.import_weights(fresh, folded(found), IMAGES, [IMAGES[:4], IMAGES[4:]])
    assert (done.how, done.folded) == ("structure", ("norm",))
    np.testing.assert_allclose(logits_of(fresh, IMAGES), logits_of(model, IMAGES), rtol=1e-3, atol=1e-4)
    read = fresh.stem(paddle.to_tensor(IMAGES)).numpy()
    np.testing.assert_allclose(fresh.norm._mean.numpy(), read.mean(axis=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(fresh.norm._variance.numpy(), read.var(axis=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    fresh.train()  # normalizes by the batch, and is the same network
    np.testing.assert_allclose(fresh(paddle.to_tensor(IMAGES)).numpy(), logits_of(model, IMAGES), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Net(classes=5), r"Gemm \[6, 5\] in the configured network, Gemm \[6, 4\] in the file"),
        pytest.param(lambda: Net(stride=1), "with its weights the logits differ by up to", marks=pytest.mark.slow),
    ],
)
def test_another_network_is_refused_in_a_line(exported, make, expected):
    with pytest.raises(UserError, match=expected) as caught:
        weights.import_weights(filled(make(), 9), folded(exported[1]), IMAGES)
    assert "\n" not in str(caught.value)
