from itertools import product
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from ppcls_compress import machine
from ppcls_compress.commands import export_model
from ppcls_compress.config.load import validate
from ppcls_compress.deploy import formats, tuning
from ppcls_compress.deploy.measure.layers import Layer, Shape, Table, Times
from ppcls_compress.engine import assemble
from ppcls_compress.errors import ConfigError
from ppcls_compress.slim import recipe
from ppcls_compress.slim.options import QuantOptions, SlimOptions


def chain(seed, count=7):
    """Layers of random times."""
    rng = np.random.default_rng(seed)
    layers = [Layer(f"l{index}", Shape("conv", size=(index + 1, 1)), 4, 4) for index in range(count)]
    points = {layer.shape: {(4, 4): Times(*rng.uniform([1, 0.5, 0], [3, 3, 1]).tolist())} for layer in layers}
    return layers, Table({}, points)


def price(layers, table, integers):
    total, before = 0.0, False
    for layer in layers:
        times, now = table.times(layer), layer.name in integers
        total += (times.integer if now else times.float) + (times.switch if now is not before else 0.0)
        before = now
    return total


@pytest.mark.parametrize("seed", range(8))
def test_the_placement_is_the_cheapest_of_all(seed):
    layers, table = chain(seed)
    allowed = [layer.name for layer in layers if layer.name != "l2"]
    every = [{name for name, taken in zip(allowed, bits, strict=True) if taken} for bits in product((0, 1), repeat=6)]
    best = min(price(layers, table, integers) for integers in every)
    found = tuning.cheapest(layers, table, allowed)
    assert price(layers, table, found) == pytest.approx(best)
    assert "l2" not in found


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ({"integers": 1.0, "float": 2.0}, "integers"),
        ({"integers": 1.0, "float": 0.5}, "float"),
        ({"integers": 1.0, "float": 2.0, "mixed": 0.8}, "mixed"),
        ({"integers": 1.0, "float": 2.0, "integers in bfloat16": 0.99}, "integers"),
        (
            {"integers": 1.0, "float": 2.0, "integers in bfloat16": 0.9, "mixed in bfloat16": 0.89},
            "integers in bfloat16",
        ),
        ({"integers": 1.0, "float": 2.0, "mixed": 0.99}, "integers"),
        ({"integers": 1.0, "float": 0.9, "mixed": 0.895}, "float"),
        ({"integers": 1.0, "float": 0.99}, "integers"),
    ],
)
def test_what_is_written_is_slower_than_neither_float_nor_integers(taken, expected):
    assert tuning.chosen(taken) == expected


def test_layers_in_float_keep_their_weights_and_are_told_in_the_record():
    config = validate(
        {"Arch": {"name": "CIFARResNet8", "class_num": 3}, "Global": {"image_shape": [3, 8, 8]}}, source="test"
    )
    images = paddle.rand([4, 3, 8, 8])
    context = recipe.Context(lambda: [images])
    options = SlimOptions(None, QuantOptions(name="ptq"))
    model, record = recipe.compress(assemble.build_dense(config), options, [[1, 3, 8, 8]], context=context)
    model.eval()
    network, told = tuning._partly(config, (model, record), ["stem.conv", "fc"])
    step = recipe.step_of(told, "quant")
    assert "stem.conv" not in step["quantized"]
    assert [item["layer"] for item in step["skipped"]] == ["stem.conv", "fc"]
    assert step["options"]["skip"] == ["stem.conv", "fc"]
    assert np.array_equal(network.state_dict()["fc.weight"].numpy(), model.state_dict()["fc.weight"].numpy())
    assert "fc._fake_quant_input._low" not in network.state_dict()
    assert recipe.step_of(record, "quant")["skipped"] == []
    difference = float((network(images) - model(images)).abs().max())
    assert 0 < difference < 0.5
    plain, without = tuning.in_float((model, record))
    assert recipe.step_of(without, "quant") is None
    assert not any("_fake_quant" in name for name in plain.state_dict())
    assert any("_fake_quant" in name for name in model.state_dict())


def test_layers_with_a_rule_of_their_own_keep_a_network_from_being_mixed_and_nothing_else(monkeypatch):
    config = validate(
        {"Arch": {"name": "CIFARResNet8", "class_num": 3}, "Global": {"image_shape": [3, 8, 8]}}, source="test"
    )
    options = QuantOptions(name="ptq", per_layer=({"layers": ("fc",), "weight_bits": 4},))
    context = recipe.Context(lambda: [paddle.rand([4, 3, 8, 8])])
    variant = recipe.compress(assemble.build_dense(config), SlimOptions(None, options), [[1, 3, 8, 8]], context=context)
    compared = []
    monkeypatch.setattr(tuning, "measure", lambda layers, runtime, **_: Table({}, {}))
    monkeypatch.setattr(tuning, "cheapest", lambda layers, table, quantized: set(quantized) - {"fc"})
    monkeypatch.setattr(
        tuning,
        "_timed",
        lambda config, placements, kind, plan, batch: compared.extend(placements) or {"integers": 1, "float": 2},
    )
    assert tuning.tune(config, variant, formats.get("onnx-ort"), None, None).record == variant[1]
    assert compared == ["integers", "float"]


def tuned(**given):
    return SimpleNamespace(**{"profile": None, "tune": 1, "bfloat16": False, **given})


def test_bfloat16_is_refused_where_it_is_not_to_be_had(monkeypatch, tmp_path):
    openvino = [formats.get("onnx-openvino")]
    monkeypatch.setattr(machine, "has_bfloat16", lambda: True)
    export_model._check_tune(tuned(bfloat16=True), openvino)
    with pytest.raises(ConfigError, match="--bfloat16: is for --tune"):
        export_model._check_tune(tuned(bfloat16=True, tune=None), openvino)
    with pytest.raises(ConfigError, match="--bfloat16: ONNX Runtime has no kernels in bfloat16"):
        export_model._check_tune(tuned(bfloat16=True), [formats.get("onnx-ort")])
    profile = tmp_path / "profile.json"
    profile.write_text("{}")
    with pytest.raises(ConfigError, match="--bfloat16: a profile has no times in bfloat16"):
        export_model._check_tune(tuned(bfloat16=True, profile=str(profile)), openvino)
    monkeypatch.setattr(machine, "has_bfloat16", lambda: False)
    monkeypatch.setattr(machine, "cpu_name", lambda: "i486")
    with pytest.raises(ConfigError, match="--bfloat16: this processor, i486, has none of avx512_bf16, amx_bf16"):
        export_model._check_tune(tuned(bfloat16=True), openvino)


@pytest.mark.parametrize("name", ["onnx-qdq", "paddle"])
def test_what_is_for_other_machines_or_has_no_layers_of_both_kinds_is_not_tuned(name):
    args = tuned()
    export_model._check_tune(args, [formats.get("onnx-ort"), formats.get("onnx-openvino")])
    with pytest.raises(ConfigError, match=f"--tune: places the layers of onnx-ort and onnx-openvino, not of {name}"):
        export_model._check_tune(args, [formats.get("onnx-ort"), formats.get(name)])
