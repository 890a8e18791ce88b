import re
from types import SimpleNamespace

import numpy as np
import pytest
from support.project import make_project

from ppcls_compress.config.auto import Auto
from ppcls_compress.config.load import load_config
from ppcls_compress.deploy.measure.layers import Table, Times, layers_of
from ppcls_compress.engine import assemble, checkpoint
from ppcls_compress.errors import UserError
from ppcls_compress.search import fitting, preparing, shares, trial
from ppcls_compress.search.judge import Costs
from ppcls_compress.search.shares import Anchor
from ppcls_compress.search.space import Candidate
from ppcls_compress.slim.record import empty_record

SHAPE = (3, 8, 8)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitting")
    config = load_config(make_project(folder), [f"Global.pretrained_model={folder / 'dense'}"])
    checkpoint.save_model(folder / "dense", assemble.build_dense(config), empty_record())
    return config


def ready(config, target, *, anchors=(), profile=None, noisy=()):
    auto = Auto(max_drop=1, target=target, runtime="onnx-ort")
    slim = SimpleNamespace(auto=auto)
    seen = config.model_copy(update={"Slim": slim})
    counted = assemble.cost_of(config, empty_record())
    costs = Costs(4 * counted.params, counted.params, counted.flops)
    shop = SimpleNamespace(profile=profile, timed=auto.cost == "latency" and profile is None, dense_artifact="dense")
    found = preparing.Ready(shop, seen, None, costs, None, anchors)
    found.__dict__["_noisy"] = noisy
    return found


@pytest.mark.parametrize(("cost", "ratios"), [("flops", "uniform"), ("params", "global")])
def test_a_candidate_is_pruned_until_it_meets_the_target(config, cost, ratios):
    found = ready(config, {cost: 0.5})
    candidate, section = fitting.fitted(found, Candidate(ratios=ratios, share=0.55, quantizer="float"))
    assert candidate.share < 0.55
    assert 0.45 < fitting.expected(found, section) <= 0.5


def test_layers_that_stay_float_are_made_up_for_by_pruning(config):
    anchors = [Anchor(True, kept, 0.03 + 0.25 * kept) for kept in (0.1, 0.5, 1.0)]
    big = "blocks.2.conv1.conv"
    plain = Candidate(ratios="uniform", share=0.6)
    found = ready(config, {"bytes": 0.2}, anchors=anchors, noisy=[big])
    assert fitting.fitted(found, plain)[0].share == 0.6
    spared, section = fitting.fitted(found, Candidate(ratios="uniform", share=0.6, spared=1))
    assert section["quant"]["skip"] == [big]
    assert spared.share < 0.6


def test_what_no_share_makes_cheap_enough_is_not_trained(config, monkeypatch):
    monkeypatch.setattr(fitting, "expected", lambda ready, section: 0.9)
    with pytest.raises(UserError, match=r"is to have 90.0% of the bytes, and 20.0% are allowed"):
        fitting.fitted(ready(config, {"bytes": 0.2}), Candidate(ratios="uniform", share=0.6))


def test_where_latency_counts_the_file_of_a_candidate_is_timed_before_it_is_trained(config, monkeypatch):
    found = ready(config, {"latency": 0.5})

    def costs(folder, dense, runtime, *, timed):
        return SimpleNamespace(latency=0.6 if len(written) == 1 else 0.48)

    written = []
    monkeypatch.setattr(fitting.judge, "costs", costs)
    monkeypatch.setattr(shares, "write_rehearsed", lambda config, folder, kind, options: written.append(options))
    candidate, section = fitting.fitted(found, Candidate(ratios="uniform", share=0.8, placement="deploy"))
    assert candidate.share == pytest.approx(0.8 * 0.99 * 0.98 * 0.5 / 0.6)
    assert [round(options.prune.target_flops, 2) for options in written] == [0.8, 0.65]
    assert written[1].quant.placement == section["quant"]["placement"] == "deploy"


@pytest.mark.parametrize(
    ("overhead", "start"), [(0.35, 0.1), (0.35, 0.9), (0.0, 0.2)], ids=["low", "high", "without overhead"]
)
def test_a_file_that_could_take_longer_is_pruned_less(config, monkeypatch, overhead, start):
    found, tried = ready(config, {"latency": 0.6}), []

    def expected(_, section):
        tried.append(section["prune"]["target_flops"])
        return overhead + (1 - overhead) * tried[-1]

    monkeypatch.setattr(fitting, "expected", expected)
    candidate, section = fitting.fitted(found, Candidate(ratios="uniform", share=start))
    least = 0.9 * 0.6
    assert least < overhead + (1 - overhead) * candidate.share <= 0.98 * 0.6
    assert section["prune"]["target_flops"] == pytest.approx(candidate.share, abs=1e-4)
    assert len(tried) == len(set(tried)) <= 5


@pytest.mark.parametrize("seed", range(8))
def test_noise_in_the_timing_does_not_keep_a_candidate_over_the_target(config, monkeypatch, seed):
    noise = np.random.default_rng(seed)

    def expected(_, section):
        return (0.5 + 0.4 * section["prune"]["target_flops"]) * noise.uniform(0.985, 1.015)

    monkeypatch.setattr(fitting, "expected", expected)
    candidate, _ = fitting.fitted(ready(config, {"latency": 0.6}), Candidate(ratios="uniform", share=0.3))
    assert 0.1 < candidate.share < 0.3


def test_what_met_the_target_stands_where_pruning_less_is_impossible(config, monkeypatch):
    def expected(_, section):
        if section["prune"]["target_flops"] > 0.3:
            raise UserError("would change nothing")
        return 0.3

    monkeypatch.setattr(fitting, "expected", expected)
    assert fitting.fitted(ready(config, {"latency": 0.6}), Candidate(ratios="uniform", share=0.3))[0].share == 0.3
    with pytest.raises(UserError, match="would change nothing"):
        fitting.fitted(ready(config, {"latency": 0.6}), Candidate(ratios="uniform", share=0.4))


def test_what_costs_too_much_and_cannot_be_pruned_further_is_told_with_its_cost(config, monkeypatch):
    def expected(_, section):
        if section["prune"]["target_flops"] < 0.3:
            raise UserError("at most 70% can be removed")
        return 0.9

    monkeypatch.setattr(fitting, "expected", expected)
    with pytest.raises(UserError, match=r"uniform to 40%.*: is to have 90.0% of the latency, and 60.0% are allowed"):
        fitting.fitted(ready(config, {"latency": 0.6}), Candidate(ratios="uniform", share=0.4))


def test_a_latency_that_pruning_hardly_changes_is_not_timed_for_ever(config, monkeypatch):
    tried = []
    monkeypatch.setattr(fitting, "expected", lambda *_: tried.append(1) or 0.3)
    fitting.fitted(ready(config, {"latency": 0.6}), Candidate(ratios="uniform", share=0.3))
    assert len(tried) == 2


def test_the_refusal_tells_the_last_share_that_was_tried_and_its_cost(config, monkeypatch):
    monkeypatch.setattr(fitting, "expected", lambda _, section: 0.7 + 0.1 * section["prune"]["target_flops"])
    found = ready(config, {"latency": 0.6})
    with pytest.raises(UserError, match=r"uniform to (\d+)%.*: is to have (7\d\.\d)% of the latency") as caught:
        fitting.fitted(found, Candidate(ratios="uniform", share=0.5))
    share, cost = map(float, re.search(r"to (\d+)%.*have ([\d.]+)%", str(caught.value)).groups())
    assert cost == pytest.approx(70 + 0.1 * share, abs=0.1)


def test_what_is_fast_enough_unpruned_stays_so(config, monkeypatch):
    monkeypatch.setattr(fitting, "expected", lambda ready, section: 0.3)
    assert fitting.fitted(ready(config, {"latency": 0.6}), Candidate(share=1.0))[0] == Candidate(share=1.0)


def test_latencies_of_another_machine_come_from_its_profile(config, tmp_path):
    layers = layers_of(assemble.build_dense(config), SHAPE)
    points = {layer.shape: {} for layer in layers}
    for layer in layers:
        for count in (1, layer.outputs):
            points[layer.shape][layer.inputs, count] = Times(1.0 * count, 0.25 * count, 0.1)
    Table({"runtime": "onnxruntime"}, points).save(tmp_path / "profile.json")
    found = ready(config, {"latency": 0.4}, profile=tmp_path / "profile.json", noisy=[layers[0].name])
    whole, spared = Candidate(share=1.0), Candidate(share=1.0, spared=1)
    assert fitting.expected(found, found.slim_of(whole)) == pytest.approx(0.25)
    first, total = layers[0].outputs, sum(layer.outputs for layer in layers)
    expected = (first + 0.25 * (total - first)) / total
    assert fitting.expected(found, found.slim_of(spared)) == pytest.approx(expected)
    rounded = {"kind": "quant", "quantized": [layer.name for layer in layers[1:]]}
    told = trial._predicted(config, {**empty_record(), "steps": [rounded]}, tmp_path / "profile.json")
    assert told == pytest.approx(expected)  # what is trained costs what was told of it before
