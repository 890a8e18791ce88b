"""A table of layers says what the network is and what was done to it."""

import numpy as np
import paddle
import pytest

from ppcls_compress import models
from ppcls_compress.report import layers
from ppcls_compress.slim import cost, recipe
from ppcls_compress.slim.options import PruneOptions, QuantOptions, SlimOptions

SHAPE = [1, 3, 16, 16]


def build():
    return models.build("CIFARMobileNetV3", class_num=4)


@pytest.fixture(scope="module")
def found():
    names = [name for name, layer in build().named_sublayers() if isinstance(layer, paddle.nn.Conv2D)]
    options = SlimOptions(PruneOptions(pruned_ratio=0.5), QuantOptions(name="ptq", skip=(names[0],)))
    batches = [paddle.rand([4, *SHAPE[1:]])]
    _, record = recipe.compress(build(), options, [SHAPE], context=recipe.Context(lambda: batches))
    model = recipe.rebuild(build(), recipe.resized(record))
    return names, model, layers.layers_of(model, [SHAPE], record)


def test_sums_are_those_of_the_network(found):
    _, model, table = found
    counted = cost.count(model, [SHAPE])
    assert (table.params, table.flops) == (counted.params, counted.flops)
    weights = dict(model.named_parameters())
    for layer in table.layers:
        assert layer.weight == tuple(weights[f"{layer.name}.weight"].shape)
        own = [value for name, value in weights.items() if name.rpartition(".")[0] == layer.name]
        assert layer.params == sum(int(np.prod(value.shape)) for value in own)


def test_what_was_done_to_each_layer_is_told(found, capsys):
    names, _, table = found
    dense = dict(build().named_parameters())
    by_name = {layer.name: layer for layer in table.layers}
    assert any(layer.before for layer in table.layers)
    for layer in table.layers:
        assert (layer.before or layer.weight) == tuple(dense[f"{layer.name}.weight"].shape)
        assert layer.quantized == (None if layer.name == names[0] else "8/8")
    assert "float: " in by_name[names[0]].note
    layers.show(table)
    text = capsys.readouterr().out
    assert f"{table.flops:,}" in text
    assert " -> " in text
    assert table.plain()["layers"][0]["name"] == table.layers[0].name


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"per_layer": ({"layers": ("fc",), "weight_bits": 4, "activation_bits": 6},)}, {"4/6", "8/8"}),
        ({"bits": {"target_bytes": 0.15}}, None),
    ],
)
def test_bits_that_a_layer_has_of_its_own_are_told(options, expected):
    def small():
        return models.build("CIFARResNet8", class_num=4)

    wanted = SlimOptions(None, QuantOptions(name="ptq", **options))
    _, record = recipe.compress(
        small(), wanted, [SHAPE], context=recipe.Context(lambda: [paddle.rand([4, *SHAPE[1:]])])
    )
    told = {layer.name: layer.quantized for layer in layers.layers_of(small(), [SHAPE], record).layers}
    chosen = recipe.step_of(record, "quant").get("bits")
    if chosen is None:
        assert (told["fc"], set(told.values())) == ("4/6", expected)
    else:
        assert len(set(chosen.values())) > 1
        assert told == {name: None if bits == 32 else f"{bits}/8" for name, bits in chosen.items()}
