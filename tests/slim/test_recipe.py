import json

import numpy as np
import paddle
import pytest

from ppcls_compress.errors import ConfigError, UserError
from ppcls_compress.slim import recipe
from ppcls_compress.slim import record as compression
from ppcls_compress.slim.options import PruneOptions, QuantOptions, SlimOptions
from ppcls_compress.slim.options.prune import IterativeOptions

INPUTS = [[1, 3, 8, 8]]
PRUNE = PruneOptions(name="l1_norm", pruned_ratio=0.5)
QUANT = QuantOptions(name="pact")


def network():
    paddle.seed(0)
    return paddle.nn.Sequential(
        paddle.nn.Conv2D(3, 8, 3, padding=1),
        paddle.nn.BatchNorm2D(8),
        paddle.nn.ReLU(),
        paddle.nn.Conv2D(8, 6, 3),
        paddle.nn.AdaptiveAvgPool2D(1),
        paddle.nn.Flatten(),
        paddle.nn.Linear(6, 4),
    )


def batches():
    return [paddle.to_tensor(np.random.default_rng(1).standard_normal((4, 3, 8, 8), np.float32))]


def outputs(model):
    model.eval()
    with paddle.no_grad():
        return model(batches()[0]).numpy()


def without_biases():
    model = network()
    for layer in (model[0], model[3], model[6]):
        layer.bias = None
    return model


def compressed(options, model=None, **more):
    return recipe.compress(model or network(), options, INPUTS, context=recipe.Context(batches), **more)


@pytest.mark.parametrize(
    "options",
    [SlimOptions(), SlimOptions(prune=PRUNE), SlimOptions(quant=QUANT), SlimOptions(prune=PRUNE, quant=QUANT)],
    ids=["dense", "prune", "quant", "both"],
)
def test_the_record_rebuilds_the_model_for_a_strict_load(options):
    model, record = compressed(options)
    fresh = recipe.rebuild(network(), json.loads(json.dumps(record)))
    assert not any(fresh.set_state_dict(model.state_dict()))
    np.testing.assert_array_equal(outputs(fresh), outputs(model))


def test_steps_come_in_order_and_are_described():
    model, record = compressed(SlimOptions(prune=PRUNE, quant=QUANT))
    assert [step["kind"] for step in record["steps"]] == ["prune", "quant"]
    assert list(model[0].weight.shape) == [4, 3, 3, 3]
    pruned, quantized = ("\n".join(recipe.describe(step)) for step in record["steps"])
    assert "parameters 706 -> " in pruned
    assert "FLOPs (multiply-adds)" in pruned
    assert "8-bit weights, 8-bit activations: 3 layers: 0, 3, 6" in quantized


def test_steps_of_the_record_are_not_repeated():
    model, record = compressed(SlimOptions(prune=PRUNE))
    again, extended = recipe.compress(
        model, SlimOptions(prune=PRUNE, quant=QUANT), INPUTS, record=record, context=recipe.Context(batches)
    )
    assert extended["steps"][0] is record["steps"][0]
    assert list(again[0].weight.shape) == [4, 3, 3, 3]


def test_quantization_that_is_not_asked_for_is_dropped_and_weights_stay():
    model, record = compressed(SlimOptions(prune=PRUNE, quant=QUANT))
    weight = model[0].weight.numpy()
    model, record, notes = recipe.keep_wanted(model, SlimOptions(), record)
    assert [step["kind"] for step in record["steps"]] == ["prune"]
    assert type(model[0]) is paddle.nn.Conv2D
    np.testing.assert_array_equal(model[0].weight.numpy(), weight)
    assert len(notes) == 1


@pytest.mark.parametrize(
    ("quantization", "folded"),
    [
        (QuantOptions(name="ptq"), [["0", "1"]]),
        (QuantOptions(name="ptq", fuse_conv_bn=False), []),
        (QuantOptions(name="pact", placement="deploy"), [["0", "1"]]),
    ],
    ids=["ptq", "biases", "deploy"],
)
def test_weights_whose_quantization_was_dropped_load_into_what_their_record_rebuilds(quantization, folded):
    model, record = compressed(SlimOptions(prune=PRUNE, quant=quantization), model=without_biases())
    model, record, notes = recipe.keep_wanted(model, SlimOptions(), record)
    assert [step["kind"] for step in record["steps"]] == ["prune", "fold"]
    assert record["steps"][1]["folded"] == folded
    assert ("batch norms stay folded" in notes[0]) == bool(folded)
    record = compression.check(json.loads(json.dumps(record)), "a.slim.json")
    fresh = recipe.rebuild(without_biases(), recipe.with_training_options(record, SlimOptions()))
    assert not any(fresh.set_state_dict(model.state_dict()))
    np.testing.assert_array_equal(outputs(fresh), outputs(model))
    again, record = recipe.compress(
        fresh, SlimOptions(quant=quantization), INPUTS, record=record, context=recipe.Context(batches)
    )
    assert [step["kind"] for step in record["steps"]] == ["prune", "fold", "quant"]
    fresh = recipe.rebuild(without_biases(), record)
    assert not any(fresh.set_state_dict(again.state_dict()))
    np.testing.assert_array_equal(outputs(fresh), outputs(again))


def test_a_fold_of_layers_that_a_model_does_not_have_is_refused():
    step = {"kind": "fold", "version": 1, "folded": [], "biased": ["nowhere"]}
    with pytest.raises(UserError, match="a layer that this model does not have: nowhere"):
        recipe.rebuild(network(), {"version": 1, "steps": [step]})


def test_contradictions_and_wrong_order_are_refused():
    model, record = compressed(SlimOptions(quant=QUANT))
    with pytest.raises(UserError, match=r"Slim.quant.weight_bits: the weights were made with 8, .* says 4"):
        recipe.keep_wanted(model, SlimOptions(quant=QuantOptions(weight_bits=4)), record)
    with pytest.raises(UserError, match="prune first, then quantize"):
        recipe.keep_wanted(model, SlimOptions(prune=PRUNE, quant=QUANT), record)


def test_options_of_training_are_taken_over_unless_the_rest_contradicts():
    _, record = compressed(SlimOptions(quant=QUANT))
    wanted = SlimOptions(quant=QuantOptions(alpha_learning_rate=2.0, freeze_bn_epoch=2))
    options = recipe.with_training_options(record, wanted)["steps"][0]["options"]
    assert (options["alpha_learning_rate"], options["freeze_bn_epoch"]) == (2.0, 2)
    other = SlimOptions(quant=QuantOptions(compat="paddleslim"))
    assert recipe.with_training_options(record, other) == record
    model = network()
    with pytest.raises(UserError, match=r"Slim\.quant\.compat: the weights were made with None, .* 'paddleslim'"):
        recipe.keep_wanted(model, other, record)


def test_a_network_of_other_defaults_goes_on_as_it_began():
    before = QuantOptions(asymmetric=False, depthwise_ranges="tensor", alpha_learning_rate=3.0)
    model, record = compressed(SlimOptions(quant=before))
    assert (record["steps"][0]["options"]["freeze_bn_epoch"], before.freeze_bn_epoch) == (None, None)
    now = SlimOptions(quant=QuantOptions())
    assert recipe.with_training_options(record, now) == record
    assert recipe.keep_wanted(model, now, record)[1:] == (record, [])
    assert recipe.pending(now, record) == []
    stopped = recipe.with_training_options(record, SlimOptions(quant=QuantOptions(freeze_bn_epoch="never")))
    assert stopped["steps"][0]["options"]["freeze_bn_epoch"] == "never"
    with pytest.raises(UserError, match=r"Slim\.quant\.asymmetric: the weights were made with False, .* says 'auto'"):
        recipe.keep_wanted(model, SlimOptions(quant=QuantOptions(asymmetric="auto")), record)


@pytest.mark.parametrize(
    ("options", "epochs", "since"),
    [
        ({}, 1, 1),
        ({"name": "lsq"}, 3, 1),
        ({"name": "qat"}, 10, 5),
        ({"freeze_bn_epoch": 7}, 10, 7),
        ({"freeze_bn_epoch": "never"}, 10, "never"),
        ({"weight_bits": 4}, 10, None),
        ({"compat": "paddleslim"}, 10, None),
        ({"placement": "deploy"}, 10, None),
        ({}, None, None),
    ],
)
def test_a_run_chooses_from_when_batch_norms_keep_their_statistics(options, epochs, since):
    model = network()
    model(batches()[0])  # in training mode, so that there are statistics
    context = recipe.Context(batches, epochs=epochs)
    _, record = recipe.compress(model, SlimOptions(quant=QuantOptions(**options)), INPUTS, context=context)
    assert record["steps"][0]["options"]["freeze_bn_epoch"] == since
    assert ("from epoch" in "\n".join(recipe.describe(record["steps"][0]))) == isinstance(since, int)


@pytest.mark.parametrize(("gentle", "since"), [(True, 5), (False, None)])
def test_batch_norms_move_to_the_end_where_the_learning_rate_is_large(gentle, since):
    model = network()
    model(batches()[0])
    context = recipe.Context(batches, epochs=10, gentle=gentle)
    _, record = recipe.compress(model, SlimOptions(quant=QuantOptions()), INPUTS, context=context)
    assert record["steps"][0]["options"]["freeze_bn_epoch"] == since


@pytest.mark.parametrize("pruned", [False, True])
def test_batch_norms_without_statistics_of_their_own_move_for_an_epoch_at_least(pruned):
    model = network()
    if pruned:
        model(batches()[0])
    options = SlimOptions(prune=PRUNE if pruned else None, quant=QUANT)
    _, record = recipe.compress(model, options, INPUTS, context=recipe.Context(batches, epochs=1))
    assert record["steps"][-1]["options"]["freeze_bn_epoch"] == 2


@pytest.mark.parametrize(
    ("made", "now", "message"),
    [
        (QuantOptions(name="ptq"), QuantOptions(name="ptq", bias_correction=False), "bias_correction: .* with True"),
        (QUANT, QuantOptions(alpha_init="percentile"), "alpha_init: .* with 'mse'"),
        (
            QuantOptions(alpha_init="percentile"),
            QuantOptions(alpha_init="percentile", alpha_percentile=99),
            "alpha_percentile: .* with 99.99",
        ),
    ],
)
def test_options_that_shaped_the_weights_are_refused_if_they_differ(made, now, message):
    model, record = compressed(SlimOptions(quant=made))
    now = SlimOptions(quant=now)
    assert recipe.with_training_options(record, now) == record
    with pytest.raises(UserError, match=f"Slim.quant.{message}"):
        recipe.keep_wanted(model, now, record)


def test_quantization_without_data_is_refused_before_pruning():
    model = network()
    with pytest.raises(UserError, match="needs calibration batches"):
        recipe.compress(model, SlimOptions(prune=PRUNE, quant=QUANT), INPUTS)
    assert list(model[0].weight.shape) == [8, 3, 3, 3]


def test_a_record_of_the_future_is_refused():
    with pytest.raises(UserError, match="version 9 found, 1 is known"):
        recipe.rebuild(network(), {"version": 9, "steps": []})


def test_a_contradiction_is_told_by_the_key_in_yaml():
    _, record = compressed(SlimOptions(prune=PRUNE))
    other = SlimOptions(prune=PruneOptions(name="l1_norm", pruned_ratio=0.5, global_=True))
    with pytest.raises(UserError, match=r"Slim\.prune\.global: the weights were made with False, .* says True"):
        recipe.keep_wanted(network(), other, record)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (PruneOptions(skip=("9",)), "Slim.prune.skip: unknown layer name, glob or type '9'"),
        (PruneOptions(pruned_ratio={"9": 0.5}), "Slim.prune.pruned_ratio: unknown prunable layer '9'"),
        (PruneOptions(target_flops=0.01, skip=("0",)), "Slim.prune.target_flops: 0.01 cannot be met"),
    ],
)
def test_an_option_of_pruning_that_does_not_fit_is_told_by_the_key_in_yaml(options, message):
    with pytest.raises(ConfigError) as error:
        compressed(SlimOptions(options, None))
    assert str(error.value).startswith(message)


def test_iterations_in_which_nothing_goes_are_steps_too_and_any_of_them_can_be_taken_up():
    options = SlimOptions(
        prune=PruneOptions(name="l1_norm", pruned_ratio=0.5, align=4, iterative=IterativeOptions(steps=4))
    )
    saved = []

    def train(model, record):
        state = {name: value.numpy() for name, value in model.state_dict().items()}
        saved.append((json.loads(json.dumps(record)), state))

    context = recipe.Context(train=train)
    model, record = recipe.compress(network(), options, INPUTS, context=context)
    assert [len(earlier["steps"]) for earlier, _ in saved] == [1, 2, 3]
    assert [step["kept"].get("0.weight", {}).get("0", []) != [] for step in record["steps"]].count(True) == 1
    for earlier, state in saved[:3]:
        again = recipe.rebuild(network(), earlier)
        assert not any(again.set_state_dict(state))
        again, whole = recipe.compress(again, options, INPUTS, record=earlier, context=context)
        assert len(whole["steps"]) == 4
        np.testing.assert_array_equal(outputs(again), outputs(model))
