"""ML-Decoder: PaddleClas' names, the formula in NumPy, and the way through pruning, quantization and export."""

import numpy as np
import paddle
import pytest
from pydantic import ValidationError
from support.exporting import export

from ppcls_compress import models
from ppcls_compress.errors import ConfigError
from ppcls_compress.models.decoder_options import DecoderOptions
from ppcls_compress.models.ml_decoder import MLDecoder, add_decoder, completed
from ppcls_compress.slim import recipe
from ppcls_compress.slim.options import PruneOptions, QuantOptions, SlimOptions

SMALL = {"query_num": 3, "in_channels": 16, "embed_dim": 8, "num_heads": 2, "mlp_hidden_dim": 12}
LABELS = 7
SHAPE = (3, 32, 32)


def head(**options):
    paddle.seed(1)
    built = MLDecoder(DecoderOptions(**{**SMALL, **options}), LABELS)
    built.eval()
    return built


def backbone(**options):
    paddle.seed(1)
    options = DecoderOptions(**{**SMALL, "in_channels": 1280, **options})
    return add_decoder(models.build("PPLCNet_x0_25", class_num=LABELS), options, LABELS)


def test_layers_have_the_names_and_shapes_of_paddleclas():
    attention = {f"{part}_proj.weight": [8, 8] for part in ("q", "k", "v", "out")}
    attention |= {f"{part}_proj.bias": [8] for part in ("q", "k", "v", "out")}
    norms = {f"norm{number}.{kind}": [8] for number in (1, 2, 3) for kind in ("weight", "bias")}
    feed = {"linear1.weight": [8, 12], "linear1.bias": [12], "linear2.weight": [12, 8], "linear2.bias": [8]}
    first = {f"cross_attn.{name}": shape for name, shape in attention.items()} | norms | feed
    second = first | {f"self_attn.{name}": shape for name, shape in attention.items()}
    rest = {
        "input_proj.weight": [8, 16, 1, 1],
        "input_proj.bias": [8],
        "query_pos_embed.weight": [3, 8],
        "group_conv.weight": [9, 8, 1, 1],
        "group_conv.bias": [9],
    }
    expected = rest | {f"decoder.layers.0.{name}": shape for name, shape in first.items()}
    expected |= {f"decoder.layers.1.{name}": shape for name, shape in second.items()}
    assert {name: list(value.shape) for name, value in head(depth=2).state_dict().items()} == expected


def norm(x, state, name):
    scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(x, state, name):
    return x @ state[f"{name}.weight"] + state[f"{name}.bias"]


def reference(state, x):
    """One layer without attention among questions, two heads."""
    features = np.einsum("nchw,oc->nhwo", x, state["input_proj.weight"][:, :, 0, 0]) + state["input_proj.bias"]
    features = np.maximum(features, 0).reshape(len(x), -1, 8)
    layer = {name.removeprefix("decoder.layers.0."): value for name, value in state.items()}
    questions = norm(2 * np.repeat(state["query_pos_embed.weight"][None], len(x), 0), layer, "norm1")
    q, k, v = (
        linear(part, layer, f"cross_attn.{name}_proj").reshape(len(x), -1, 2, 4).transpose(0, 2, 1, 3)
        for part, name in ((questions, "q"), (features, "k"), (features, "v"))
    )
    scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(4)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    found = (scores / scores.sum(-1, keepdims=True)) @ v
    found = linear(found.transpose(0, 2, 1, 3).reshape(len(x), -1, 8), layer, "cross_attn.out_proj")
    answers = norm(questions + found, layer, "norm2")
    hidden = np.maximum(linear(answers, layer, "linear1"), 0)
    answers = norm(answers + linear(hidden, layer, "linear2"), layer, "norm3")
    groups = state["group_conv.weight"].reshape(3, 3, 8)
    return (np.einsum("nqd,qgd->nqg", answers, groups).reshape(len(x), 9) + state["group_conv.bias"])[:, :LABELS]


def test_logits_are_those_of_the_formula():
    built = head()
    for parameter in built.parameters():
        parameter.set_value(paddle.randn(parameter.shape))
    x = np.random.default_rng(0).standard_normal((4, 16, 3, 5)).astype(np.float32)
    state = {name: value.numpy().astype(np.float64) for name, value in built.state_dict().items()}
    found = built(paddle.to_tensor(x)).numpy()
    np.testing.assert_allclose(found, reference(state, x.astype(np.float64)), rtol=1e-3, atol=1e-3)
    assert np.array_equal(built(paddle.to_tensor(x).flatten(1)).numpy(), found)


def test_questions_stay_random_unless_they_are_to_be_learned():
    assert head().query_pos_embed.weight.stop_gradient
    assert not head(freeze_query_embed=False).query_pos_embed.weight.stop_gradient


def test_there_are_no_more_questions_than_labels():
    assert head(query_num=80).query_pos_embed.weight.shape == [LABELS, 8]


def test_a_backbone_hands_its_feature_map_on():
    network = backbone()
    network.eval()
    assert network(paddle.zeros([2, *SHAPE])).shape == [2, LABELS]
    assert isinstance(network.fc, MLDecoder)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"replace_layer": "fcc"}, r"MLDecoder\.replace_layer: unknown layer of PPLCNet 'fcc'; did you mean 'fc'"),
        ({"remove_layers": ["avg_poo"]}, r"MLDecoder\.remove_layers: .* did you mean 'avg_pool'"),
        ({"class_num": 6}, r"MLDecoder\.class_num: is 6, but Arch\.class_num is 7"),
    ],
)
def test_a_backbone_without_such_layers_is_told(options, text):
    with pytest.raises(ConfigError, match=text):
        backbone(**options)


def test_heads_share_the_width():
    with pytest.raises(ValidationError, match="embed_dim 8 is no multiple of num_heads 3"):
        DecoderOptions(embed_dim=8, num_heads=3)


def test_weights_of_the_backbone_alone_are_completed():
    network, options = backbone(), DecoderOptions(**SMALL)
    published = {
        name: value.numpy() for name, value in models.build("PPLCNet_x0_25", class_num=11).state_dict().items()
    }
    state, fresh = completed(network, options, published)
    assert fresh
    assert set(state) == set(network.state_dict())
    assert np.array_equal(state["conv1.conv.weight"], published["conv1.conv.weight"])
    assert np.array_equal(state["fc.input_proj.weight"], network.fc.input_proj.weight.numpy())
    own = {name: value.numpy() for name, value in network.state_dict().items()}
    assert completed(network, options, own) == (own, False)


@pytest.mark.slow
@pytest.mark.parametrize("quantized", [False, True])
def test_pruned_and_quantized_it_is_exported_as_it_was_trained(tmp_path, quantized):
    images = np.random.default_rng(0).standard_normal((16, *SHAPE)).astype(np.float32)
    slim = SlimOptions(
        prune=PruneOptions(name="fpgm", pruned_ratio=0.3), quant=QuantOptions(name="pact") if quantized else None
    )
    context = recipe.Context(batches=lambda: [paddle.to_tensor(images)])
    network, record = recipe.compress(backbone(), slim, [[1, *SHAPE]], context=context)
    network.eval()
    (step, *_) = record["steps"]
    assert "fc.group_conv" in str(recipe.describe(step))
    result = export(network, tmp_path, image_shape=SHAPE, output="label_probabilities", record=record, images=images)
    assert result.parity.kind == "labels"
    assert result.parity.agreement > 0.95
