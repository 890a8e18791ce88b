"""Planted faults: the analysis names the layer and the kind."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_compress.errors import UserError
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions
from ppcls_compress.slim.quant.analysis import NOISY, analyze, remedy

FINE = {"asymmetric": "auto", "depthwise_ranges": "channel", "bias_correction": False}


def images(seed: int = 0) -> paddle.Tensor:
    return paddle.to_tensor(np.random.default_rng(seed).standard_normal((16, 4, 8, 8), np.float32))


class Network(nn.Layer):
    def __init__(self, activation: nn.Layer) -> None:
        super().__init__()
        paddle.seed(4)
        self.first = nn.Conv2D(4, 8, 1)
        self.act = activation
        self.depthwise = nn.Conv2D(8, 8, 3, padding=1, groups=8)
        self.last = nn.Conv2D(8, 5, 1)
        self.pool = nn.AdaptiveAvgPool2D(1)

    def forward(self, x):
        return self.pool(self.last(self.depthwise(self.act(self.first(x))))).flatten(1)


def prepared(activation: nn.Layer | None = None, *, plant=None, **options):
    net = Network(activation or nn.Identity())
    if plant is not None:
        plant(net)
    model, _ = quant.prepare(net, QuantOptions(name="ptq", **{**FINE, **options}), inputs=[[2, 4, 8, 8]])
    quant.calibrate(model, [images()])
    return model


def causes(model) -> dict[str, list[str]]:
    return causes_on(model, images())


def causes_on(model, batch) -> dict[str, list[str]]:
    return {row.layer: [cause.kind for cause in row.causes] for row in analyze(model, [batch])}


def outlier(net: Network) -> None:
    weight = net.first.weight.numpy()
    weight[0] *= 300
    net.first.weight.set_value(weight)


def test_a_sound_network_has_no_cause():
    model = prepared()
    assert causes(model) == {"first": [], "depthwise": [], "last": []}
    assert remedy(list(analyze(model, [images()]))) == {}


def test_an_outlier_channel():
    assert causes(prepared(plant=outlier, depthwise_ranges="tensor"))["depthwise"] == ["outlier channel"]
    rows = list(analyze(prepared(plant=outlier, depthwise_ranges="tensor"), [images()]))
    assert "channel 0 reaches" in next(row for row in rows if row.layer == "depthwise").causes[0].found
    assert causes(prepared(plant=outlier))["depthwise"] == []


def test_a_dead_range_and_clipping():
    for factor, kind in ((20.0, "dead range"), (0.1, "clipping")):
        model = prepared()
        ends = model.last._fake_quant_input
        ends.set_ends(ends._low.item() * factor, ends._high.item() * factor, 3)
        found = causes(model)
        assert found["last"] == [kind]
        assert found["first"] == []


def test_an_asymmetric_input_on_a_symmetric_grid():
    model = prepared(
        nn.Hardswish(), plant=lambda net: net.first.weight.set_value(net.first.weight * 6), asymmetric=False
    )
    assert causes(model)["depthwise"] == ["asymmetric input"]


def test_coarse_weights():
    rule = [{"layers": ["depthwise"], "weight_bits": 3}]
    rows = list(analyze(prepared(per_layer=rule), [images()]))
    assert {row.layer: [cause.kind for cause in row.causes] for row in rows}["depthwise"] == ["coarse weights"]
    assert rows[0].layer == "depthwise"  # the noisiest first
    assert remedy(rows) == {"per_layer": [{"layers": ["depthwise"], "weight_bits": 8}]}


def test_bits_without_an_integer_kernel():
    assert causes(prepared(per_layer=[{"layers": ["last"], "activation_bits": 12}]))["last"] == ["no integer kernel"]


def test_a_wrong_zero_point():
    model = prepared(asymmetric=True)
    ends = model.last._fake_quant_input
    low, high = ends._low.item(), ends._high.item()
    ends.set_ends(low + 0.4 * (high - low), high + 0.4 * (high - low), 8)
    found = causes(model)
    assert found["last"] == ["wrong zero point"]
    assert found["first"] == []


def test_a_missing_bias_correction():
    def plant(net: Network) -> None:
        """Inputs that are never negative, and weights that all lie on one side of their nearest level."""
        weight = np.full([5, 8, 1, 1], 0.45, np.float32)
        weight[:, 0] = 1.0
        net.last.weight.set_value(weight)
        for layer in (net.first, net.depthwise):
            layer.weight.set_value(layer.weight.abs())
            layer.bias.set_value(layer.bias + 2)

    rule = [{"layers": ["last"], "weight_bits": 3}]
    kinds = {
        correction: causes(prepared(nn.ReLU(), plant=plant, per_layer=rule, bias_correction=correction))["last"]
        for correction in (False, True)
    }
    assert "missing bias correction" in kinds[False]
    assert "missing bias correction" not in kinds[True]


def test_a_saturated_accumulator():
    class Wide(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.narrow, self.wide = nn.Linear(70000, 2), nn.Linear(2, 2)

        def forward(self, x):
            return self.wide(self.narrow(x))

    net = Wide()
    net.narrow.weight.set_value(np.ones([70000, 2], np.float32))
    model, _ = quant.prepare(net, QuantOptions(name="ptq", activation_quantizer="AbsmaxQuantizer"), inputs=[[2, 70000]])
    ones = paddle.ones([2, 70000])
    quant.calibrate(model, [ones])
    found = causes_on(model, ones)
    assert found == {"narrow": ["saturated accumulator"], "wide": []}


def test_what_is_never_calibrated_is_named():
    model, _ = quant.prepare(Network(nn.Identity()), QuantOptions(name="ptq"), inputs=[[2, 4, 8, 8]])
    with pytest.raises(UserError, match="first: its activation range is not calibrated"):
        list(analyze(model, [images()]))


def test_ratios_and_shares_are_those_of_numpy_and_nothing_changes():
    model = prepared(plant=outlier, depthwise_ranges="tensor")
    before = model(images(1)).numpy()
    row = next(row for row in analyze(model, [images()]) if row.layer == "first")
    x = images()
    rounded = model.first._fake_quant_input(x).numpy()
    noise, signal = (np.square(values).sum(axis=(0, 2, 3)) for values in (rounded - x.numpy(), x.numpy()))
    expected = -10 * np.log10((noise / signal).mean())
    assert row.input_db == pytest.approx(expected, abs=0.01)
    assert 0 <= row.without <= row.alone <= 1
    np.testing.assert_array_equal(model(images(1)).numpy(), before)


def test_layers_that_are_done_are_left_out_and_the_remedy_mends():
    model = prepared(plant=outlier, depthwise_ranges="tensor")
    rows = list(analyze(model, [images()]))
    assert [row.layer for row in analyze(model, [images()], done=["first", "last"])] == ["depthwise"]
    assert next(row for row in rows if row.layer == "depthwise").output_db < NOISY
    block = remedy(rows)
    assert block["depthwise_ranges"] == "channel"
    mended = {row.layer: row.output_db for row in analyze(prepared(plant=outlier, **block), [images()])}
    assert mended["depthwise"] > NOISY
