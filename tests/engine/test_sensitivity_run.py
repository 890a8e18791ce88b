import paddle
import pytest
import yaml
from support.pruning import Net, randomize

from ppcls_compress.engine.sensitivity_run import Study, first_images, suggest
from ppcls_compress.errors import UserError
from ppcls_compress.slim import L1NormFilterPruner
from ppcls_compress.slim.cost import count

SHAPE = [1, 3, 8, 8]
ROW = [round(0.1 * step, 1) for step in range(1, 10)]


def study(width=32, **rows):
    net = randomize(Net(lambda n, x: x, width=width))
    pruner = L1NormFilterPruner(net, SHAPE)
    layers = {parameter.name: name.removesuffix(".weight") for name, parameter in net.named_parameters()}
    measured = {getattr(net, name).weight.name: row for name, row in rows.items()}
    return Study(net, pruner, "l1_norm", measured, layers, [SHAPE])


def milliseconds(net):
    return count(net, [SHAPE]).flops / 1e4


def test_a_suggestion_meets_its_target_where_pruning_seems_to_gain(tmp_path):
    found = study(stem=dict.fromkeys(ROW, -0.02), last=dict.fromkeys(ROW, -0.01))
    dense = milliseconds(found.model)
    ratios = suggest(found, "target_flops", 0.6, tmp_path / "s.yaml", milliseconds)
    assert yaml.safe_load((tmp_path / "s.yaml").read_text())["Slim"]["prune"]["pruned_ratio"] == ratios
    found.pruner.prune_vars({f"{layer}.weight": ratio for layer, ratio in ratios.items()}, 0)
    assert milliseconds(found.model) / dense == pytest.approx(0.6, abs=0.02)


@pytest.mark.parametrize(
    ("target", "share", "width", "says"),
    [
        ("target_latency_ms", 1.0, 32, "--target-latency-ms: the dense network takes [0-9.]+ ms, so less is allowed"),
        ("target_flops", 0.05, 32, "--target-flops: at most [0-9]+% can be removed, 95% is asked for"),
        ("target_flops", 0.7, 2, r"--target-flops: the nearest that .* allow removes [0-9.]+%, 30.0% is asked for"),
    ],
)
def test_a_target_that_cannot_be_met_is_refused_and_nothing_is_written(tmp_path, target, share, width, says):
    found = study(width, stem={ratio: ratio for ratio in ROW})
    value = share * milliseconds(found.model) if target == "target_latency_ms" else share
    with pytest.raises(UserError, match=says):
        suggest(found, target, value, tmp_path / "s.yaml", milliseconds)
    assert not (tmp_path / "s.yaml").exists()


@pytest.mark.parametrize(("images", "sizes"), [(None, [4, 4, 2]), (3, [3]), (4, [4]), (6, [4, 2]), (99, [4, 4, 2])])
def test_only_as_many_images_are_evaluated_as_were_asked_for(images, sizes):
    batches = [(paddle.arange(n), paddle.arange(n)) for n in (4, 4, 2)]
    found = [(len(x), len(y)) for x, y in first_images(batches, images)]
    assert found == [(n, n) for n in sizes]
