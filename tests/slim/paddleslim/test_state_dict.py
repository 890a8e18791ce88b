"""State dicts of PaddleSlim's QAT: they load strictly, and training goes on."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support import quantizing
from support.upstream_qat import IMAGES, UpstreamPact, network, train, upstream

from ppcls_compress.errors import UserError
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions
from ppcls_compress.slim.paddleslim import state_dict

nn = paddle.nn


@pytest.mark.parametrize("kind", ["paddleslim", "moving_average", "alpha"])
def test_paddleslims_states_load_strictly_and_training_goes_on(kind):
    theirs = upstream(UpstreamPact)
    train(theirs)
    options = {"compat": "paddleslim"} if kind == "paddleslim" else {"grid": kind}
    ours, _ = quant.prepare(network(), QuantOptions(**options))
    state = state_dict.from_paddleslim(ours, quantizing.state_of(theirs))
    assert set(state) == set(ours.state_dict())
    assert ours.set_state_dict(state) == ([], [])
    ours.eval()
    if kind == "paddleslim":
        np.testing.assert_allclose(ours(IMAGES).numpy(), theirs(IMAGES).numpy(), atol=1e-6)
    else:
        assert np.abs(ours(IMAGES).numpy() - theirs(IMAGES).numpy()).max() < 0.05
    limits = [row["limit"] for row in quant.statistics(ours)]
    train(ours, 1, rate=1e-5 if kind == "paddleslim" else 0.01)
    assert np.isfinite(ours(IMAGES).numpy()).all()
    moved = [row["limit"] for row in quant.statistics(ours)]
    assert moved == pytest.approx(limits, rel=0.15)


@pytest.mark.parametrize("kind", ["channel_wise_abs_max", "moving_average_abs_max", "range_abs_max", "lsq_weight"])
def test_a_state_of_our_own_is_left_as_it_is(kind):
    model, _ = quant.prepare(network(), QuantOptions(weight_quantize_type=kind))
    state = quantizing.state_of(model)
    assert state_dict.from_paddleslim(model, state) == state
    assert not state_dict.is_paddleslim(state)
    assert not state_dict.is_paddleslim(quantizing.state_of(network()))
    assert state_dict.is_paddleslim(quantizing.state_of(upstream()))


GOES_ON = [
    {"compat": "paddleslim", "weight_preprocess_type": "PACT"},
    {"compat": "paddleslim"},
    {"name": "pact"},
    {"name": "pact", "unsigned": True},
    {"name": "pact", "grid": "moving_average", "weight_preprocess_type": "PACT"},
    {"name": "pact", "activation_quantize_type": "range_abs_max"},
    {"name": "lsq"},
    {"name": "lsq", "weight_quantize_type": "lsq_weight"},
    {"name": "qat", "weight_preprocess_type": "PACT"},
    {"name": "qat", "weight_quantize_type": "moving_average_abs_max"},
    {"name": "qat", "weight_quantize_type": "range_abs_max"},
    {"name": "qat", "activation_quantize_type": "abs_max"},
]


class NarrowPact(UpstreamPact):
    """A clip that changes a weight."""

    def __init__(self):
        super().__init__()
        self.alpha.set_value(np.array([0.05], "float32"))


@pytest.mark.parametrize("options", GOES_ON)
def test_a_paddleslim_state_with_clipped_weights_goes_on_as_any_method(options):
    theirs = upstream(UpstreamPact, weight_preprocess_layer=NarrowPact)
    train(theirs)
    ours, _ = quant.prepare(network(), QuantOptions(**options))
    state = state_dict.from_paddleslim(ours, quantizing.state_of(theirs))
    assert ours.set_state_dict(state) == ([], [])
    ours.eval()
    # Without a clip of its own, the weights are clipped once.
    assert (np.abs(state["0.weight"]).max() <= 0.06) == ("weight_preprocess_type" not in options)
    difference = np.abs(ours(IMAGES).numpy() - theirs(IMAGES).numpy()).max()
    if options.get("compat"):
        assert difference < 1e-6
    elif options.get("unsigned") is not True and options.get("activation_quantize_type") != "abs_max":
        assert difference < 0.1 * np.abs(theirs(IMAGES).numpy()).max()
    assert ours[0]._fake_quant_input.unsigned == options.get("unsigned", False)
    train(ours, 1)
    assert np.isfinite(ours(IMAGES).numpy()).all()


@pytest.mark.parametrize(
    ("options", "clips", "message"),
    [
        ({"compat": "paddleslim"}, {}, "0: PaddleSlim's weights have no alpha of PACT; {name: qat} goes on"),
        (
            {"compat": "paddleslim", "weight_preprocess_type": "PACT"},
            {"act_preprocess": UpstreamPact},
            "0: PaddleSlim clipped no weights; leave weight_preprocess_type out",
        ),
        ({"skip": ("5",)}, {}, "5 are quantized in PaddleSlim's weights, and not by these options; set skip"),
    ],
)
def test_options_that_paddleslims_state_cannot_fill_are_refused(options, clips, message):
    ours, _ = quant.prepare(network(), QuantOptions(**options))
    with pytest.raises(UserError, match=message):
        state_dict.from_paddleslim(ours, quantizing.state_of(upstream(**clips)))


def test_a_broken_alpha_of_paddleslims_starts_no_range():
    theirs = upstream(UpstreamPact)
    theirs[0]._layer._act_preprocess.alpha.set_value(np.array([-3.0], "float32"))
    ours, _ = quant.prepare(network(), QuantOptions())
    with pytest.raises(UserError, match="0: no range can start from PaddleSlim's -3"):
        state_dict.from_paddleslim(ours, quantizing.state_of(theirs))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "ptq"}, "name: weights of PaddleSlim's QAT cannot go on as ptq; pact, lsq and qat fit"),
        ({"placement": "deploy"}, "placement: .* cannot go on as deploy"),
        ({"fuse_conv_bn": True}, "fuse_conv_bn: .* cannot go on as True"),
    ],
)
def test_options_that_rebuild_the_network_do_not_fit_paddleslims_weights(options, message):
    with pytest.raises(UserError, match=message):
        state_dict.check_fits(QuantOptions(**options))
    state_dict.check_fits(QuantOptions(name="lsq"))


def test_a_paddleslim_state_without_pact_goes_on_as_qat_and_as_pact():
    theirs = upstream()
    train(theirs)
    ours, _ = quant.prepare(network(), QuantOptions(name="qat").as_paddleslim())
    assert ours.set_state_dict(state_dict.from_paddleslim(ours, quantizing.state_of(theirs))) == ([], [])
    ours.eval()
    np.testing.assert_allclose(ours(IMAGES).numpy(), theirs(IMAGES).numpy(), atol=1e-6)
    pact, _ = quant.prepare(network(), QuantOptions())
    assert pact.set_state_dict(state_dict.from_paddleslim(pact, quantizing.state_of(theirs))) == ([], [])
    assert [row["alpha"] for row in quant.statistics(pact)] == pytest.approx(
        [row["limit"] for row in quant.statistics(ours)], rel=1e-5
    )
