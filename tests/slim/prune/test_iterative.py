import json

import pytest
from paddle import nn

from ppcls_compress.errors import UserError
from ppcls_compress.slim.options.prune import IterativeOptions, PruneOptions
from ppcls_compress.slim.prune import apply_record, prune

SHAPE = [[1, 3, 8, 8]]


def stack(width=16, second=None):
    second = second or width
    return nn.Sequential(
        nn.Conv2D(3, width, 1), nn.ReLU(), nn.Conv2D(width, second, 1), nn.ReLU(), nn.Conv2D(second, 2, 1)
    )


def steps(net, count, **options):
    """The widths after each step, and the records."""
    options = PruneOptions(iterative=IterativeOptions(steps=count), **options)
    widths, records = [], []
    for _ in range(count):
        net, record = prune(net, options, SHAPE, earlier=records)
        records.append(json.loads(json.dumps(record)))
        widths.append(net[0].weight.shape[0])
    return widths, records


@pytest.mark.parametrize(
    ("width", "count", "options"),
    [
        (64, 5, {"pruned_ratio": 0.3, "align": 8}),
        (16, 10, {"pruned_ratio": 0.3}),
        (16, 3, {"pruned_ratio": {"*": 0.9}}),
        (4, 6, {"pruned_ratio": {"0": 0.9, "2": 0.5}}),
        (20, 4, {"pruned_ratio": 0.5, "global_": True}),
    ],
)
def test_steps_end_where_one_step_would(width, count, options):
    widths, records = steps(stack(width), count, **options)
    once, record = prune(stack(width), PruneOptions(**options), SHAPE)
    assert widths == sorted(widths, reverse=True)
    if "global_" not in options:
        assert widths[-1] == once[0].weight.shape[0]
    assert sum(shape_of(records[-1])) == sum(shape_of(record))


def shape_of(record):
    return [layer["after"]["shape"][0] for layer in record["layers"]]


def test_each_step_aims_at_its_power_of_what_is_to_be_left():
    widths, _ = steps(stack(100), 3, pruned_ratio=0.5)
    assert widths == [round(100 * 0.5 ** (k / 3)) for k in (1, 2, 3)]


@pytest.mark.parametrize("name", ["flops", "params"])
def test_the_target_is_of_the_dense_network_however_narrow_the_layers(name):
    _, records = steps(stack(16, 10), 4, **{f"target_{name}": 0.5})
    dense = records[0]["before"][name]
    assert abs(records[-1]["after"][name] / dense - 0.5) <= 0.02
    shares = [step["after"][name] / dense for step in records]
    assert shares == sorted(shares, reverse=True)


def test_a_latency_target_is_met_in_the_last_step():
    def width(net):
        return float(net[0].weight.shape[0])

    options = PruneOptions(target_latency_ms=9.0, iterative=IterativeOptions(steps=2))
    net, first = prune(stack(), options, SHAPE, latency=width)
    assert net[0].weight.shape[0] == 12
    net, _ = prune(net, options, SHAPE, latency=width, earlier=[first])
    assert net[0].weight.shape[0] == 9


def test_a_step_that_removes_nothing_leaves_a_record_that_rebuilds():
    widths, records = steps(stack(), 10, pruned_ratio=0.3)
    assert widths[0] == widths[1] == 15
    assert records[1]["kept"] == {}
    net = stack()
    for record in records:
        net = apply_record(net, record)
    assert net[0].weight.shape[0] == 11


def test_errors_speak_of_what_the_user_asked():
    net = stack()
    with pytest.raises(
        UserError, match=r"target_flops: 0.02 cannot be met; the nearest that these layers allow is 0.15"
    ):
        steps(stack(), 4, target_flops=0.02, skip=("2",))
    assert net[0].weight.shape[0] == 16
    halved = PruneOptions(target_flops=0.8, align=8, iterative=IterativeOptions(4))
    with pytest.raises(UserError, match=r"target_flops: 0.8 cannot be met; the nearest that these layers allow is 1$"):
        prune(net, halved, SHAPE)  # a layer loses half its channels or none: told in the first step
    with pytest.raises(UserError, match=r"pruning would change nothing: pruned_ratio 0.01 of"):
        steps(net, 2, pruned_ratio=0.01)
    with pytest.raises(UserError, match="iterative: 2 steps were taken already, steps says 2"):
        prune(net, PruneOptions(iterative=IterativeOptions(2)), SHAPE, earlier=[{}, {}])
    with pytest.raises(UserError, match="the record of the first step lacks 'layers'"):
        prune(net, PruneOptions(iterative=IterativeOptions(2)), SHAPE, earlier=[{"before": {}}])


@pytest.mark.filterwarnings("ignore:pruned")
def test_falling_short_is_told_once_and_at_the_end():
    _, records = steps(stack(), 2, pruned_ratio=0.5, skip=("0",))
    assert [step["warnings"] for step in records[:1]] == [[]]
    assert records[1]["warnings"][0].startswith("pruned 24% of the channels where 50% was asked; skip: skip: 0")
