"""The native pruner under `scope: layer` against what PaddleSlim 2.6.0 removed on the Paddle it was made for."""

import numpy as np
import paddle
import pytest
from paddle.vision import models
from support import golden

from ppcls_compress.slim.options.prune import PruneOptions
from ppcls_compress.slim.prune import prune

CRITERIA = {"FPGMFilterPruner": "fpgm", "L1NormFilterPruner": "l1_norm", "L2NormFilterPruner": "l2_norm"}
CASES = golden.load("cases")
# PaddleSlim's masks of what a grouped convolution reads do not fit its weight; asked for a follower it removes nothing.
COMPARABLE = [case for case in CASES["cases"] if case["removed"] and case["net"] != "grouped"]


def shapes_of(net):
    return {name: value.shape for name, value in net.state_dict().items()}


def removed_by(record, shapes):
    return {
        name: {
            axis: np.setdiff1d(np.arange(shapes[name][int(axis)]), indices).tolist() for axis, indices in axes.items()
        }
        for name, axes in record["kept"].items()
    }


@pytest.mark.parametrize("pruner", list(CRITERIA))
@pytest.mark.parametrize(
    "name",
    ["mobilenet_v1", "mobilenet_v3_small", "mobilenet_v3_large", pytest.param("resnet50", marks=pytest.mark.slow)],
)
def test_a_network_loses_what_it_loses_to_paddleslim(name, pruner):
    facts = golden.load(name)
    wanted = facts["pruners"][pruner]
    net = getattr(models, name)()
    golden.fill(net)
    net.eval()
    dense = shapes_of(net)
    options = PruneOptions(name=CRITERIA[pruner], scope="layer", pruned_ratio=facts["ratio"], verify=False)
    net, record = prune(net, options, [facts["input"]])
    assert removed_by(record, dense) == wanted["removed"]
    assert record["before"]["flops"] == facts["flops_before"]["conv"]
    assert record["after"] == {"params": wanted["params_after"], "flops": wanted["flops_after"]["conv"]}
    image = np.random.RandomState(0).randn(*facts["input"]).astype("float32")
    with paddle.no_grad():
        logits = net(paddle.to_tensor(image)).numpy().ravel()[:8]
    scale = np.abs(wanted["logits_after"]).max()
    assert np.abs(logits - wanted["logits_after"]).max() / scale < 1e-4


@pytest.mark.parametrize("case", COMPARABLE, ids=lambda case: ":".join(str(case[key]) for key in list(case)[:4]))
def test_one_layer_loses_what_it_loses_to_paddleslim(case):
    net = golden.small(case["net"], CASES)
    dense = shapes_of(net)
    layer = case["variable"].removesuffix(".weight")
    options = PruneOptions(name=CRITERIA[case["pruner"]], scope="layer", pruned_ratio={layer: case["ratio"]})
    _, record = prune(net, options, [CASES["input"]])
    assert removed_by(record, dense) == case["removed"]


@pytest.mark.parametrize("case", CASES["ties"], ids=lambda case: f"{case['size']}:{case['period']}:{case['pruner']}")
def test_equal_scores_lose_as_many_from_the_same_class_lower_indices_first(case):
    size, period = case["size"], case["period"]
    net = golden.build([["conv", 3, size, 3], ["bn", size], ["relu"], ["conv", size, 4, 1]])
    golden.fill(net)
    net[0].weight.set_value(golden.draw("0.weight", net[0].weight.shape)[np.arange(size) % period])
    options = PruneOptions(name=CRITERIA[case["pruner"]], scope="layer", pruned_ratio=case["ratio"])
    _, record = prune(net, options, [CASES["input"]])
    gone = np.setdiff1d(np.arange(size), record["kept"]["0.weight"]["0"])
    classes, theirs = np.bincount(gone % period), np.bincount(np.array(case["removed"]) % period)
    assert classes.tolist() == theirs.tolist()
    for member in range(period):
        mine = gone[gone % period == member]
        assert mine.tolist() == [member + period * index for index in range(len(mine))]
