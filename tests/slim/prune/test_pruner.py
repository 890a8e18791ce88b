import json
import warnings

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F
from paddle.vision import models
from support.pruning import Net, check_exact, outputs, random_inputs, randomize

from ppcls_compress.errors import UserError
from ppcls_compress.slim.options.prune import PruneOptions
from ppcls_compress.slim.prune import apply_record, prune
from ppcls_compress.slim.prune.cut.surgery import Surgery

SHAPE = [[1, 3, 16, 16]]


def residual():
    return Net(lambda n, x: x + n.a(x), a=nn.Conv2D(16, 16, 3, padding=1))


def snapshot(net):
    tensors = {name: (value.shape, value.numpy()) for name, value in net.state_dict().items()}
    flags = [layer.training for layer in net.sublayers(include_self=True)]
    ran = "_built"  # Paddle's own mark that a layer has run
    sizes = [{k: v for k, v in vars(s).items() if isinstance(v, int | str) and k != ran} for s in net.sublayers()]
    return tensors, flags, sizes


def assert_same(before, after):
    assert before[1:] == after[1:]
    assert before[0].keys() == after[0].keys()
    for name, (shape, value) in before[0].items():
        assert shape == after[0][name][0]
        np.testing.assert_array_equal(value, after[0][name][1])


def test_paddles_layers_know_their_new_sizes_and_the_network_trains_on():
    net, record = check_exact(residual, SHAPE, PruneOptions(pruned_ratio=0.5))
    assert (net.stem._out_channels, net.norm._num_features, net.a._in_channels) == (8, 8, 8)
    net.train()
    net(random_inputs(SHAPE)[0]).sum().backward()
    assert net.stem.weight.grad.shape == [8, 3, 3, 3]
    assert json.loads(json.dumps(record)) == record


def test_costs_before_and_after_are_those_of_the_networks():
    from ppcls_compress.slim.cost import count

    net = residual()
    before = count(net, SHAPE)
    net, record = prune(net, PruneOptions(), SHAPE)
    after = count(net, SHAPE)
    assert record["before"] == {"params": before.params, "flops": before.flops}
    assert record["after"] == {"params": after.params, "flops": after.flops}
    for row, layer in zip(record["layers"], after.layers, strict=True):
        assert (row["name"], row["after"]["flops"]) == (layer.name, layer.flops)
    shapes = {row["name"]: row["after"] for row in record["layers"]}
    out, inner = net.a.weight.shape[:2]
    assert shapes["a"] == {"shape": [out, inner, 3, 3], "flops": out * inner * 9 * 16 * 16}


def test_record_rebuilds_the_structure_for_a_strict_load():
    net, record = prune(randomize(residual()), PruneOptions(), SHAPE)
    fresh = apply_record(residual(), json.loads(json.dumps(record)))
    assert {k: v.shape for k, v in fresh.state_dict().items()} == {k: v.shape for k, v in net.state_dict().items()}
    missing, unexpected = fresh.set_state_dict(net.state_dict())
    assert (missing, unexpected) == ([], [])
    inputs = random_inputs(SHAPE)
    np.testing.assert_array_equal(outputs(net, inputs)[0], outputs(fresh, inputs)[0])
    assert fresh.a._in_channels == net.a._in_channels


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "quant"}, "expected a record of kind 'prune'"),
        ({"version": 2}, "version 2"),
        ({"kept": {"nowhere.weight": {"0": [0]}}}, "names 'nowhere.weight', which this network does not have"),
        ({"kept": {"stem.weight": {"0": [16]}}}, r"does not fit 'stem.weight' of shape \[16, 3, 3, 3\] on axis 0"),
        ({"attributes": [["stem", "nothing", 1]]}, "stem.nothing, which this network does not have"),
    ],
)
def test_record_that_does_not_fit_is_refused_and_changes_nothing(change, says):
    _, record = prune(residual(), PruneOptions(), SHAPE)
    net = residual()
    before = snapshot(net)
    with pytest.raises(UserError, match=says):
        apply_record(net, {**record, **change})
    assert_same(before, snapshot(net))


class Broken(nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(4, 8, 1)

    def forward(self, x):
        return self.conv(x)


class Raising(nn.Layer):
    def forward(self, x):
        raise RuntimeError("no such luck\nsecond line")


class Random(nn.Layer):
    """Not a function of its input and parameters: no pruning of it can be proved."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2D(3, 8, 1), nn.Conv2D(8, 4, 1)

    def forward(self, x):
        return self.b(self.a(x)) + paddle.randn([1, 4, 1, 1])


@pytest.mark.parametrize(
    ("build", "options", "says"),
    [
        (residual, PruneOptions(pruned_ratio=0.0), "pruning would change nothing"),
        (residual, PruneOptions(pruned_ratio=0.01), "pruning would change nothing"),
        (Raising, PruneOptions(), "the network's forward pass fails on inputs"),
        (Broken, PruneOptions(), "the network's forward pass fails: layer 'conv' takes 4 channels, not 3"),
        (
            lambda: nn.Sequential(nn.Conv2D(3, 4, 1)),
            PruneOptions(),
            "no layer of this network can be pruned; output: is an",
        ),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(768, 2)),
            PruneOptions(),
            "no layer of this network can be pruned",
        ),
        (residual, PruneOptions(pruned_ratio={"stam*": 0.3}), "unknown prunable layer 'stam"),
        (residual, PruneOptions(skip=("sten",)), "skip: unknown layer name, glob or type 'sten'; did you mean 'stem'"),
        (residual, PruneOptions(name="taylor"), "taylor: stem.weight has no gradient"),
        (residual, PruneOptions(target_flops=0.1, skip=("a",)), "target_flops: 0.1 cannot be met; the nearest"),
        (residual, PruneOptions(target_latency_ms=1.0), "target_latency_ms: needs a function"),
        (Random, PruneOptions(), r"something else each time.*: it draws .* by gaussian \(.*test_pruner.py:"),
    ],
)
def test_bad_input_is_one_clear_error_and_changes_nothing(build, options, says):
    net = build()
    net.train()
    before = snapshot(net)
    with pytest.raises(UserError, match=says) as caught:
        prune(net, options, SHAPE)
    assert "\n" not in str(caught.value)
    assert_same(before, snapshot(net))


@pytest.mark.parametrize("inputs", [[], "1x3", [[1, 3, "a", 16]], None])
def test_inputs_of_another_kind_are_refused(inputs):
    with pytest.raises(UserError, match="inputs: expected"):
        prune(residual(), PruneOptions(), inputs)


def test_training_flags_gradients_and_dtype_stay():
    net = residual()
    net.stem.eval()
    net.to(dtype="float64")
    net, _ = prune(net, PruneOptions(), [paddle.static.InputSpec([None, 3, 16, 16], "float64")])
    assert (net.training, net.stem.training, net.a.training) == (True, False, True)
    assert {str(p.dtype) for p in net.parameters()} == {"paddle.float64"}


def test_sync_batch_norm_on_cpu():
    net = nn.SyncBatchNorm.convert_sync_batchnorm(residual())
    assert isinstance(net.norm, nn.SyncBatchNorm)
    net, _ = prune(net, PruneOptions(), SHAPE)
    assert net.norm.weight.shape == [11]
    assert "forward" not in vars(net.norm)


def test_data_parallel_wrapper_is_looked_through():
    net = paddle.DataParallel(residual())
    same, record = prune(net, PruneOptions(), SHAPE)
    assert same is net
    assert net._layers.stem.weight.shape[0] == 11
    assert set(record["kept"]) <= set(net.state_dict())
    assert apply_record(paddle.DataParallel(residual()), record)._layers.stem.weight.shape[0] == 11


def test_pruning_twice():
    net, _ = prune(residual(), PruneOptions(pruned_ratio=0.5), SHAPE)
    net, record = prune(net, PruneOptions(pruned_ratio=0.5), SHAPE)
    assert net.stem.weight.shape[0] == 4
    assert record["before"]["params"] > record["after"]["params"]


@pytest.mark.parametrize("master", [False, True])
@pytest.mark.parametrize("kind", ["Momentum", "Adam", "AdamW"])
def test_live_optimizer_is_pruned_along(kind, master):
    paddle.seed(0)
    net = residual()
    optimizer = getattr(paddle.optimizer, kind)(0.01, parameters=net.parameters(), multi_precision=master)
    x = random_inputs([[2, 3, 16, 16]])[0]

    def step():
        net(x).square().mean().backward()
        optimizer.step()
        optimizer.clear_grad()

    step()
    states = {k: v.numpy() for k, v in optimizer.state_dict().items() if isinstance(v, paddle.Tensor)}
    name = net.a.weight.name
    _, record = prune(net, PruneOptions(), SHAPE, optimizer=optimizer)
    out, inner = (record["kept"]["a.weight"][axis] for axis in "01")
    found = 0
    for key, value in optimizer.state_dict().items():
        if isinstance(value, paddle.Tensor) and key.startswith(name) and value.ndim == 4:
            np.testing.assert_array_equal(value.numpy(), states[key][np.ix_(out, inner)])
            found += 1
    assert found == {"Momentum": 1, "Adam": 2, "AdamW": 2}[kind]
    step()
    assert net.a.weight.shape == [11, 11, 3, 3]


@pytest.mark.parametrize(("kind", "moments"), [("Momentum", 1), ("Adam", 2), ("AdamW", 2)])
def test_master_weights_and_what_the_optimizer_keeps_of_them_are_pruned_along(kind, moments):
    """The state of a half-precision network; Paddle makes it on a CPU but has no kernels to step with there."""
    net = nn.Sequential(nn.Conv2D(3, 16, 3), nn.ReLU(), nn.Conv2D(16, 16, 3), nn.Conv2D(16, 8, 1)).to(dtype="bfloat16")
    optimizer = getattr(paddle.optimizer, kind)(0.01, parameters=net.parameters(), multi_precision=True)
    optimizer._create_accumulators(paddle.static.default_main_program().global_block(), net.parameters())
    rng = np.random.default_rng(0)
    state = {**optimizer.state_dict(), **optimizer.state_dict()["master_weights"]}
    tensors = {key: value for key, value in state.items() if isinstance(value, paddle.Tensor) and value.ndim == 4}
    for value in tensors.values():
        value.set_value(rng.standard_normal(value.shape).astype("float32"))
    before = {key: value.numpy() for key, value in tensors.items()}
    options = PruneOptions(verify=False)
    _, record = prune(net, options, [paddle.static.InputSpec([1, 3, 16, 16], "bfloat16")], optimizer=optimizer)
    names = {value.name: key for key, value in net.named_parameters()}
    assert len(tensors) == (1 + moments) * 3
    for key, value in tensors.items():
        name = next(name for name in names if key.startswith(name))
        axes = record["kept"][names[name]]
        kept = np.ix_(*[axes.get(str(axis), range(size)) for axis, size in enumerate(before[key].shape)])
        np.testing.assert_array_equal(value.numpy(), before[key][kept])
        assert str(value.dtype) == "paddle.float32"
    assert optimizer.state_dict()["master_weights"][net[2].weight.name].shape == net[2].weight.shape == [11, 11, 3, 3]


def test_a_failure_after_cutting_gives_the_optimizer_its_state_back(monkeypatch):
    net = residual()
    optimizer = paddle.optimizer.Adam(0.01, parameters=net.parameters())
    net(random_inputs(SHAPE)[0]).mean().backward()
    optimizer.step()
    moments = {k: (v, v.numpy()) for k, v in optimizer.state_dict().items() if isinstance(v, paddle.Tensor)}
    before = snapshot(net)
    cut = Surgery.shrink_states

    def cut_and_fail(*arguments):
        cut(*arguments)
        raise MemoryError

    monkeypatch.setattr(Surgery, "shrink_states", cut_and_fail)
    with pytest.raises(MemoryError):
        prune(net, PruneOptions(), SHAPE, optimizer=optimizer)
    assert_same(before, snapshot(net))
    for value, old in moments.values():
        np.testing.assert_array_equal(value.numpy(), old)


def test_warning_lists_why_little_was_pruned():
    net = Net(lambda n, x: F.softmax(x, axis=1))
    with pytest.warns(UserWarning, match=r"pruned 8% of the channels where 30% was asked; softmax: mixes channels"):
        _, record = prune(net, PruneOptions(), SHAPE)
    assert len(record["warnings"]) == 1


def test_skip_by_name_glob_and_type():
    for rule in ("a", "a*", "stem"):
        net, record = prune(residual(), PruneOptions(skip=(rule,)), SHAPE)
        assert (net.stem.weight.shape[0], net.last.weight.shape[0]) == (16, 6)
        assert {(p["layer"], p["reason"]) for p in record["pinned"]} == {
            ("stem", f"skip: {rule}"),
            ("a", f"skip: {rule}"),
        }
    with pytest.raises(UserError, match="no layer of this network can be pruned; skip: skip: Conv2D"):
        prune(residual(), PruneOptions(skip=("Conv2D",)), SHAPE)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {"target_flops": 0.5}),
        ("resnet18", {"target_flops": 0.7, "global_": True}),
        ("squeezenet1_1", {"target_flops": 0.8}),
        ("mobilenet_v3_small", {"target_params": 0.6}),
        pytest.param("mobilenet_v2", {"target_flops": 0.3}, marks=pytest.mark.slow),
        pytest.param("mobilenet_v2", {"target_params": 0.8, "global_": True}, marks=pytest.mark.slow),
    ],
)
def test_targets_are_met_within_two_points(name, options):
    paddle.seed(1)
    net = getattr(models, name)(num_classes=10)
    _net, record = prune(net, PruneOptions(**options, verify=False), [[1, 3, 32, 32]])
    name, wanted = next((key.removeprefix("target_"), value) for key, value in options.items() if key != "global_")
    assert abs(record["after"][name] / record["before"][name] - wanted) <= 0.02


def test_a_latency_target_is_met_by_what_is_measured():
    wanted = 0.6
    net = models.resnet18(num_classes=10)

    def milliseconds(model):
        return sum(float(np.prod(p.shape)) for p in model.parameters()) / 1e6

    dense = milliseconds(net)
    options = PruneOptions(target_latency_ms=wanted * dense, verify=False)
    net, _ = prune(net, options, [[1, 3, 32, 32]], latency=milliseconds)
    assert abs(milliseconds(net) / dense - wanted) <= 0.02


def test_latency_target_uses_the_given_measure():
    net, _record = prune(
        residual(), PruneOptions(target_latency_ms=9.0), SHAPE, latency=lambda m: float(m.stem.weight.shape[0])
    )
    assert net.stem.weight.shape[0] == 9


def test_align():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net, _ = prune(models.mobilenet_v2(scale=0.5), PruneOptions(align=8), [[1, 3, 64, 64]])
    widths = {layer.weight.shape[0] for layer in net.sublayers() if isinstance(layer, nn.Conv2D)}
    assert not [width for width in widths if width % 8]


def test_ratio_per_glob():
    net, _ = prune(residual(), PruneOptions(pruned_ratio={"last": 0.5}), SHAPE)
    assert (net.stem.weight.shape[0], net.last.weight.shape[0]) == (16, 4)
    net, _ = prune(residual(), PruneOptions(pruned_ratio={"a": 0.25, "l*": 0.5}), SHAPE)
    assert (net.stem.weight.shape[0], net.last.weight.shape[0]) == (12, 4)


def test_global_ranking_takes_more_where_scores_are_lower():
    paddle.seed(5)
    net = residual()
    weight = net.last.weight.numpy()
    weight[:6] *= 1e-3
    net.last.weight.set_value(weight)
    net, _ = prune(net, PruneOptions(name="l1_norm", pruned_ratio=0.3, global_=True), SHAPE)
    assert net.last.weight.shape[0] <= 3
    assert net.stem.weight.shape[0] >= 13
