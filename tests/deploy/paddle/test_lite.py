"""Paddle Lite's program: it computes what was trained, and its rules tell what breaks them."""

import numpy as np
import paddle
import pytest
from support.onednn_networks import CHANNELS, EXACT, NETWORKS, SIZE, difference

from ppcls_compress.deploy.network import logits_of
from ppcls_compress.deploy.paddle import lite, lite_rules, onednn
from ppcls_compress.deploy.paddle.inference import PaddleSession
from ppcls_compress.errors import NoFormError
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions

IMAGES = np.random.default_rng(0).standard_normal((4, CHANNELS, SIZE, SIZE), np.float32)


def trained(name, **options):
    paddle.seed(0)
    model = NETWORKS[name]()
    model.eval()
    given = {"name": "pact", "unsigned": False, **options}
    model, _ = quant.prepare(model, QuantOptions(**given), inputs=[[1, CHANNELS, SIZE, SIZE]])
    quant.calibrate(model, [paddle.to_tensor(IMAGES)])
    return model


def program_of(model):
    """The program, not yet written."""
    return onednn.lowered(model, quant.grids(model), (CHANNELS, SIZE, SIZE), "none", lite.LiteLowering)[0].program


@pytest.mark.parametrize("name", ["residual_hardswish", "linear"])
def test_computes_what_was_trained(name, tmp_path):
    model = trained(name)
    written = lite.export(model, tmp_path, image_shape=(CHANNELS, SIZE, SIZE), ending="none")
    assert set(written.quantized) == set(quant.quant_layers(model))
    assert written.notes[-1] == "Paddle Lite: rules checked, not run"
    assert difference(PaddleSession(lite.create(tmp_path, 1)).run(IMAGES), logits_of(model, IMAGES)) < EXACT


def test_a_float_network_is_written_in_float(tmp_path):
    model = NETWORKS["silu"]()
    model.eval()
    written = lite.export(model, tmp_path, image_shape=(CHANNELS, SIZE, SIZE), ending="none")
    assert (written.quantized, written.notes[-1]) == ([], "Paddle Lite: rules checked, not run")
    expected = logits_of(model, IMAGES)
    np.testing.assert_allclose(PaddleSession(lite.create(tmp_path, 1)).run(IMAGES), expected, rtol=0, atol=1e-5)


def test_grids_without_a_sign_are_told_to_be_coarser():
    told = lite._signed(quant.grids(trained("relu", unsigned=True)))
    assert [line for line in told if "half of their levels; unsigned: false is exact" in line]
    assert not lite._signed(quant.grids(trained("relu")))


def _operator(program, kind):
    return next(op for op in program.operators() if op.type() == kind)


def _few_bits(program):
    _operator(program, lite_rules.INPUT)._set_attr("bit_length", 4)


def _following(program):
    _operator(program, lite_rules.INPUT)._set_attr("is_test", False)


def _other_axis(program):
    _operator(program, lite_rules.WEIGHT)._set_attr("quant_axis", 1)


def _no_range(program):
    program.value(_operator(program, lite_rules.WEIGHT).output("OutScale")[0])[0] = 0


def _computed_range(program):
    _operator(program, lite_rules.INPUT).set_input("InScale", ["image"])


def _float_input(program):
    _operator(program, "conv2d").set_input("Input", ["image"])


def _unknown(program):
    _operator(program, "relu").set_type("erfinv")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_few_bits, "is rounded to 4 bits; 8 are needed"),
        (_following, "its range would follow the data; is_test is needed"),
        (_other_axis, "0.0.weight: has 16 ranges along axis 1; 16 along axis 0 are needed"),
        (_no_range, "its range is not above 0"),
        (_computed_range, "its range is computed, and has to be a constant"),
        (_float_input, "its weight is rounded, what it reads is not"),
        (_unknown, "operator erfinv is none that Paddle Lite has"),
    ],
)
def test_what_breaks_a_rule_is_told(change, told):
    program = program_of(trained("relu"))
    assert lite_rules.check(program) == []
    change(program)
    assert any(told in line for line in lite_rules.check(program)), lite_rules.check(program)


def test_other_bits_have_no_form_and_leave_nothing(tmp_path):
    with pytest.raises(NoFormError, match="4-bit weights and 4-bit activations; Paddle Lite computes with 8-bit"):
        lite.export(trained("relu", weight_bits=4, activation_bits=4), tmp_path, image_shape=(CHANNELS, SIZE, SIZE))
    assert not list(tmp_path.iterdir())
