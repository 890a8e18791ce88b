import sys
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from paddle.vision import models
from support import golden
from support.paddleslim import live, pretend

from ppcls_compress.errors import ConfigError, MissingDependencyError, UserError
from ppcls_compress.slim.options.prune import PruneOptions
from ppcls_compress.slim.paddleslim import prune_backend as bridge
from ppcls_compress.slim.prune import prune

CASES = golden.load("cases")
PRUNERS = {name: ours for ours, name in bridge.PRUNERS.items()}


def process_state():
    flags = ["FLAGS_enable_pir_api", "FLAGS_enable_pir_in_executor"]
    names = [paddle.static.Program, paddle.static.program_guard, paddle.base.Program, paddle.float32]
    return paddle.get_flags(flags), names, paddle.in_dynamic_mode(), dir(np), dir(bridge.dygraph_base)


def stand_in(monkeypatch, net, masks):
    """A PaddleSlim that always removes `masks`, {state-dict name: (axis, mask)}."""
    state = net.state_dict()
    found = {state[name].name: [SimpleNamespace(dims=axis, mask=mask)] for name, (axis, mask) in masks.items()}
    plan = SimpleNamespace(masks=found)
    pretend(monkeypatch, FPGMFilterPruner=lambda model, inputs: SimpleNamespace(prune_vars=lambda *_, **__: plan))


def network():
    return paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 1), paddle.nn.BatchNorm2D(4), paddle.nn.Conv2D(4, 2, 1))


def test_paddle_is_mended_inside_and_itself_again_outside():
    before = process_state()
    with bridge.mended_paddle():
        paddle.enable_static()
        with paddle.static.program_guard(paddle.static.Program()), bridge.dygraph_base._to_static_mode_guard_():
            out = paddle.static.data("x", [1, 3, 4, 4]) * 2
            assert out.block.ops[-1].input_arg_names == ["x"]
        assert np.product([2, 3]) == 6
    assert process_state() == before


def test_layer_names_go_on_counting():
    number = int(paddle.nn.Conv2D(1, 1, 1).weight.name.split("_")[1].split(".")[0])
    with bridge.mended_paddle():
        pass
    assert paddle.nn.Conv2D(1, 1, 1).weight.name == f"conv2d_{number + 1}.w_0"


def test_a_failure_of_paddleslim_is_one_line_and_leaves_nothing_behind(monkeypatch):
    def pruner(model, inputs):
        paddle.enable_static()
        raise AssertionError("The length of current_mask must be equal\nto the size")

    pretend(monkeypatch, FPGMFilterPruner=pruner)
    net, before = network(), process_state()
    net.train()
    net[1].eval()
    with pytest.raises(UserError, match="cannot prune this network: AssertionError: The length of .* equal$"):
        bridge.choose(net, [1, 3, 4, 4], "fpgm", {"0.weight": 0.5})
    assert process_state() == before
    assert [layer.training for layer in net.sublayers(include_self=True)] == [True, True, False, True]


def test_masks_come_back_under_state_dict_names(monkeypatch):
    net = network()
    asked = {}

    class Pruner:
        def __init__(self, model, inputs):
            assert not any(layer.training for layer in model.sublayers(include_self=True))

        def prune_vars(self, ratios, axis, apply):
            asked.update(ratios=ratios, axis=axis, apply=apply)
            mask = [1, 0, 1.0, 0]
            names = {net[0].weight.name: 0, net[0].bias.name: 0, net[1].weight.name: 0, net[2].weight.name: 1}
            masks = {name: [SimpleNamespace(dims=dims, mask=mask)] for name, dims in names.items()}
            masks["relu_0.tmp_0"] = [SimpleNamespace(dims=1, mask=mask)]
            masks[net[2].bias.name] = [SimpleNamespace(dims=0, mask=np.ones(2))]
            return SimpleNamespace(masks=masks)

    pretend(monkeypatch, FPGMFilterPruner=Pruner)
    removed = golden.plain(bridge.choose(net, [1, 3, 4, 4], "fpgm", {"0.weight": 0.5}))
    assert asked == {"ratios": {net[0].weight.name: 0.5}, "axis": 0, "apply": None}
    both = {"0": [1, 3]}
    assert removed == {"0.weight": both, "0.bias": both, "1.weight": both, "2.weight": {"1": [1, 3]}}


def test_a_mask_of_another_length_is_refused(monkeypatch):
    net = network()
    stand_in(monkeypatch, net, {"0.weight": (0, np.zeros(16))})
    with pytest.raises(UserError, match="its mask for axis 0 of 0.weight has 16 entries, the axis has 4"):
        bridge.choose(net, [1, 3, 4, 4], "fpgm", {"0.weight": 0.5})


def test_without_paddleslim_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "paddleslim", None)
    with pytest.raises(MissingDependencyError, match="extra `paddleslim` in an environment of its own"):
        bridge.choose(network(), [1, 3, 4, 4], "fpgm", {})


def test_a_criterion_that_paddleslim_lacks_is_refused():
    with pytest.raises(ConfigError, match="Slim.prune.name: unknown criterion of backend paddleslim 'taylor'"):
        bridge.choose(network(), [1, 3, 4, 4], "taylor", {})


def test_static_mode_is_refused():
    paddle.enable_static()
    try:
        with pytest.raises(UserError, match="dynamic mode"), bridge.mended_paddle():
            pass
    finally:
        paddle.disable_static()


def options(**given):
    return PruneOptions(backend="paddleslim", scope="layer", **given)


def removed_by(record, net_shapes):
    return {
        name: {
            axis: np.setdiff1d(np.arange(net_shapes[name][int(axis)]), indices).tolist()
            for axis, indices in axes.items()
        }
        for name, axes in record["kept"].items()
    }


def shapes_of(net):
    return {name: list(value.shape) for name, value in net.state_dict().items()}


def test_a_choice_prunes_every_coupled_axis(monkeypatch):
    net = network()
    before = shapes_of(net)
    stand_in(monkeypatch, net, {"0.weight": (0, [1, 0, 1, 0])})
    net, record = prune(net, options(pruned_ratio=0.5), [[1, 3, 4, 4]])
    both = {"0": [1, 3]}
    assert removed_by(record, before) == {
        "0.weight": both, "0.bias": both, "1.weight": both, "1.bias": both, "1._mean": both, "1._variance": both,
        "2.weight": {"1": [1, 3]},
    }  # fmt: skip
    assert record["options"]["backend"] == "paddleslim"
    assert net(paddle.zeros([1, 3, 4, 4])).shape == [1, 2, 4, 4]


def test_paddleslim_is_asked_about_layers_that_may_be_pruned_and_in_their_ratio(monkeypatch):
    net = paddle.nn.Sequential(*[paddle.nn.Conv2D(4 if i else 3, 4, 1) for i in range(4)])
    asked = {}

    def prune_vars(ratios, axis, apply):
        asked.update(ratios)
        mask = SimpleNamespace(dims=0, mask=[1, 1, 0, 1])
        return SimpleNamespace(masks={net[1].weight.name: [mask]})

    pretend(monkeypatch, FPGMFilterPruner=lambda model, inputs: SimpleNamespace(prune_vars=prune_vars))
    prune(net, options(pruned_ratio={"1": 0.25}, skip=["0"]), [[1, 3, 4, 4]])
    assert asked == {net[1].weight.name: 0.25, net[2].weight.name: 0.0}


@pytest.mark.parametrize(("name", "mask"), [("2.weight", (0, [1, 0])), ("0.weight", (1, [0, 1, 1]))])
def test_channels_that_have_to_stay_are_refused_and_the_network_is_left_alone(monkeypatch, name, mask):
    net = network()
    before = shapes_of(net)
    stand_in(monkeypatch, net, {name: mask})
    with pytest.raises(UserError, match=rf"removes channels of {name} \(axis {mask[0]}\) that have to stay: "):
        prune(net, options(), [[1, 3, 4, 4]])
    assert shapes_of(net) == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scope": "group"}, "set scope: layer"),
        ({"name": "taylor"}, "has no taylor for prune_type conv"),
        ({"name": "fpgm", "prune_type": "fc"}, "has no fpgm for prune_type fc"),
        ({"name": "l1_norm", "prune_type": "all"}, "has no l1_norm for prune_type all"),
        ({"align": 8}, "takes pruned_ratio only, not align"),
        ({"target_flops": 0.5, "global_": True}, "takes pruned_ratio only, not global and a target"),
        ({"backend": "paddleslm"}, "backend must be one of native, paddleslim, found 'paddleslm'"),
    ],
)
def test_what_paddleslim_cannot_do_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        PruneOptions(**{"backend": "paddleslim", "scope": "layer", **given})


@pytest.mark.parametrize("case", [c for c in CASES["cases"] if c["net"] not in ("grouped",)][::3])
def test_live_and_native_prune_alike(case):
    live()
    if not case["removed"]:
        pytest.skip("PaddleSlim removes nothing here")
    records = []
    for backend in ("paddleslim", "native"):
        net = golden.small(case["net"], CASES)
        layer = case["variable"].removesuffix(".weight")
        found = PruneOptions(
            backend=backend, scope="layer", name=PRUNERS[case["pruner"]], pruned_ratio={layer: case["ratio"]}
        )
        records.append(prune(net, found, [CASES["input"]])[1])
    assert records[0]["kept"] == records[1]["kept"]
    assert removed_by(records[0], shapes_of(golden.small(case["net"], CASES))) == case["removed"]


@pytest.mark.parametrize("case", [c for c in CASES["fc_cases"] if c["num_head"] == -1])
def test_paddleslim_on_this_paddle_prunes_linear_layers_as_on_its_own(case):
    live()
    net = golden.small("mlp", CASES)
    ratios = {case["variable"]: case["ratio"]}
    removed = bridge.choose(net, CASES["input"], PRUNERS[case["pruner"]], ratios, prune_type="fc")
    assert golden.plain(removed) == case["removed"]


@pytest.mark.parametrize("case", CASES["cases"], ids=lambda case: ":".join(str(case[key]) for key in list(case)[:4]))
def test_paddleslim_on_this_paddle_chooses_as_on_its_own(case):
    live()
    net = golden.small(case["net"], CASES)

    def choose():
        return bridge.choose(net, CASES["input"], PRUNERS[case["pruner"]], {case["variable"]: case["ratio"]})

    if case["net"] == "grouped" and case["variable"] == "0.weight" and case["removed"]:
        # PaddleSlim cannot apply this plan of its own either.
        with pytest.raises(UserError, match="its mask for axis 1 of 3.weight has 16 entries, the axis has 4"):
            choose()
    else:
        assert golden.plain(choose()) == case["removed"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v3_small"])
@pytest.mark.parametrize("criterion", list(bridge.PRUNERS))
def test_paddleslim_on_this_paddle_prunes_whole_networks_as_on_its_own(name, criterion):
    live()
    facts = golden.load(name)
    net = getattr(models, name)()
    golden.fill(net)
    ratios = dict.fromkeys(golden.convolution_parameters(net), facts["ratio"])
    removed = bridge.choose(net, facts["input"], criterion, ratios)
    assert golden.plain(removed) == facts["pruners"][bridge.PRUNERS[criterion]]["removed"]
