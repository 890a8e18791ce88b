import json

import numpy as np
import paddle
import pytest
from paddle import nn
from support.exporting import export

from ppcls_compress.errors import UserError
from ppcls_compress.slim import branches, recipe
from ppcls_compress.slim.options import PruneOptions, QuantOptions, SlimOptions

SHAPE = (3, 8, 8)
INPUTS = [[1, *SHAPE]]
PRUNE, QUANT = PruneOptions(name="l1_norm", pruned_ratio=0.5), QuantOptions(name="pact")


class TwoBranches(nn.Layer):
    """conv1(x) + conv2(x), which merge."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2D(6, 8, 1), nn.Conv2D(6, 8, 1)
        self.is_repped = False

    def forward(self, x):
        return self.conv1(x) if self.is_repped else self.conv1(x) + self.conv2(x)

    def re_parameterize(self):
        self.conv1.weight.set_value(self.conv1.weight + self.conv2.weight)
        self.conv1.bias.set_value(self.conv1.bias + self.conv2.bias)
        self.conv2 = nn.Identity()
        self.is_repped = True


def network():
    paddle.seed(0)
    return nn.Sequential(
        nn.Conv2D(3, 6, 3), nn.ReLU(), TwoBranches(), nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(8, 4)
    )


def images():
    return np.random.default_rng(1).standard_normal((4, *SHAPE), np.float32)


def batches():
    return [paddle.to_tensor(images())]


def logits(model):
    model.eval()
    with paddle.no_grad():
        return model(batches()[0]).numpy()


def compressed(options, model=None, **more):
    return recipe.compress(model or network(), options, INPUTS, context=recipe.Context(batches), **more)


def rebuilt(record):
    return recipe.rebuild(network(), json.loads(json.dumps(record)))


def test_merging_keeps_the_outputs_and_names_the_layers():
    model = network()
    before = logits(model)
    assert branches.merge(model) == ["2"]
    assert model[2].is_repped
    np.testing.assert_allclose(logits(model), before, rtol=1e-5, atol=1e-6)
    assert branches.merge(model) == []


def test_a_copy_is_merged_for_export_and_its_record_rebuilds_it():
    model = network()
    copied, record = branches.merged_copy(model, {"version": 1, "steps": []})
    assert (model[2].is_repped, copied[2].is_repped) == (False, True)
    assert record["steps"] == [{"kind": "fold", "version": 1, "merged": ["2"], "folded": [], "biased": []}]
    fresh = rebuilt(record)
    assert not any(fresh.set_state_dict(copied.state_dict()))
    np.testing.assert_array_equal(logits(fresh), logits(copied))
    assert branches.merged_copy(copied, record) == (copied, record)


@pytest.mark.parametrize("options", [SlimOptions(quant=QUANT), SlimOptions(prune=PRUNE, quant=QUANT)])
def test_quantization_merges_first_and_the_record_rebuilds_it(options):
    model, record = compressed(options)
    assert record["steps"][-1]["merged"] == ["2"]
    assert "branches merged into one convolution first: 2" in recipe.describe(record["steps"][-1])
    assert record["steps"][-1]["quantized"] == ["0", "2.conv1", "5"]
    fresh = rebuilt(record)
    assert not any(fresh.set_state_dict(model.state_dict()))
    np.testing.assert_array_equal(logits(fresh), logits(model))


def test_branches_stay_merged_when_quantization_is_dropped_and_taken_up_again():
    model, record = compressed(SlimOptions(quant=QUANT))
    model, record, notes = recipe.keep_wanted(model, SlimOptions(), record)
    assert [step["merged"] for step in record["steps"]] == [["2"]]
    assert notes[0].endswith("float weights kept, branches stay merged")
    fresh = rebuilt(record)
    assert not any(fresh.set_state_dict(model.state_dict()))
    again, record = compressed(SlimOptions(quant=QUANT), fresh, record=record)
    assert [step["merged"] for step in record["steps"]] == [["2"], []]
    assert not any(rebuilt(record).set_state_dict(again.state_dict()))


def test_pruning_alone_leaves_the_branches_apart():
    model, record = compressed(SlimOptions(prune=PRUNE))
    assert not model[2].is_repped
    assert not any(rebuilt(record).set_state_dict(model.state_dict()))


@pytest.mark.parametrize(("name", "message"), [("7", "unknown layer '7'"), ("1", "1 is a ReLU, which has no branches")])
def test_a_record_of_another_network_is_refused(name, message):
    with pytest.raises(UserError, match=message):
        branches.merge_named(network(), [name])


def test_an_artifact_is_merged_compared_with_the_branches_and_says_so(tmp_path):
    model = network()
    result = export(model, tmp_path, image_shape=SHAPE, images=images())
    assert result.artifact.record["steps"][0]["merged"] == ["2"]
    assert result.parity.mean_difference < 1e-6
    assert not model[2].is_repped
