from dataclasses import replace

import pytest

pytest.importorskip("optuna")

from ppcls_compress.search.shares import Anchor, check_reachable, needed
from ppcls_compress.search.space import Candidate, Proposals, generations, settled, slim_section
from ppcls_compress.slim.options import PruneOptions, QuantOptions

SHARES = {"pact": 0.6, "lsq": 0.6, "ptq": 0.6, "float": 0.15}
ANCHORS = [Anchor(False, kept, kept) for kept in (1.0, 0.5, 0.1)] + [
    Anchor(True, kept, 0.05 + 0.25 * kept) for kept in (1.0, 0.5, 0.1)
]


def search(proposals, trials):
    history, titles = [], []
    for size in generations(trials):
        found = proposals.next(history, size)
        titles += [candidate.title for _, candidate in found]
        history += [(choices, float(len(candidate.title))) for choices, candidate in found]
    return titles


def test_proposals_depend_on_the_seed_alone_and_do_not_repeat_themselves():
    first = search(Proposals(0, SHARES), 9)
    assert first == search(Proposals(0, SHARES), 9)
    assert first != search(Proposals(1, SHARES), 9)
    assert len(set(first)) == 9


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.1, 0.15, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("cost", ["bytes", "latency", "flops"])
@pytest.mark.parametrize("trials", [5, 12])
def test_every_recipe_by_hand_that_meets_the_target_is_tried(seed, share, cost, trials):
    shares = needed(cost, share, [] if cost == "flops" else ANCHORS)
    candidates, history = [], []
    proposals = Proposals(seed, shares)
    for size in generations(trials):
        found = proposals.next(history, size)
        history += [(choices, float(len(candidate.title))) for choices, candidate in found]
        candidates += [candidate for _, candidate in found]
    by_hand = {candidate.quantizer: candidate for candidate in candidates if candidate.by_hand}
    assert set(by_hand) == set(shares) - {"lsq"}
    for quantizer, candidate in by_hand.items():
        assert (candidate.criterion, candidate.rate, candidate.share) == ("fpgm", 1.0, shares[quantizer])
        assert candidate.ratios == "uniform" or candidate.share == 1.0


def test_the_first_candidate_is_the_recipe_by_hand_that_prunes_least_in_float_where_integers_save_nothing():
    first = [Proposals(0, shares).next([], 2) for shares in (SHARES, needed("flops", 0.5, []))]
    assert [each[0][1].title for each in first] == [
        "fpgm uniform to 60%, pact layers auto, rate x1, no teacher",
        "fpgm uniform to 49%, float, rate x1, no teacher",
    ]
    assert [each[1][1].title for each in first] == [
        "fpgm uniform to 60%, pact layers auto, rate x1",
        "fpgm uniform to 49%, float, rate x1",
    ]


def test_fewer_are_proposed_where_there_are_no_more():
    found = Proposals(0, {"float": 1.0}).next([], 6)
    assert {candidate for _, candidate in found} == {
        Candidate(quantizer="float", rate=rate, teacher=teacher) for rate in (1.0, 0.2) for teacher in (True, False)
    }


def test_a_quantizer_that_cannot_meet_the_target_is_not_proposed():
    assert not any(", float, rate" in title for title in search(Proposals(0, {"pact": 0.5}), 6))


def test_the_share_is_chosen_where_there_is_no_target():
    shares = {candidate.share for _, candidate in Proposals(0, None).next([], 12)}
    assert len(shares) > 2
    assert all(0.1 <= share <= 1 for share in shares)


def test_choices_without_effect_make_no_other_candidate():
    choices = {
        "criterion": "l1_norm",
        "ratios": "global",
        "quantizer": "float",
        "placement": "deploy",
        "grid": "symmetric",
    }
    one = settled({**choices, "spared": 3, "rate": 1.0}, 1.0)
    assert one == Candidate(quantizer="float", rate=1.0)


@pytest.mark.parametrize("ratios", ["sensitivity", "uniform", "global"])
@pytest.mark.parametrize("quantizer", ["pact", "lsq", "ptq", "float"])
def test_a_section_is_one_that_slim_takes(ratios, quantizer):
    candidate = Candidate(ratios=ratios, quantizer=quantizer, grid="symmetric", spared=1, share=0.5)
    section = slim_section(candidate, "dense", counts="flops", ratios={"stem.conv": 0.5}, noisy=["fc", "stem.conv"])
    options = PruneOptions(**{"global_" if key == "global" else key: value for key, value in section["prune"].items()})
    assert options.target == (None if ratios == "sensitivity" else ("flops", 0.5))
    if quantizer != "float":
        assert QuantOptions(**section["quant"]).skip == ("fc",)
    assert ("quant" in section) == (quantizer != "float")
    assert section["distill"] == {"teacher": "dense"}


@pytest.mark.parametrize("share", [1e-6, 0.99999])
def test_no_share_is_rounded_to_all_or_nothing(share):
    section = slim_section(Candidate(ratios="uniform", share=share), "dense", counts="params", ratios=None, noisy=[])
    assert PruneOptions(**section["prune"]).target == ("params", pytest.approx(share, abs=1e-4))


def test_layers_that_are_faster_in_float_stay_so_where_the_fastest_placement_is_mixed():
    found = [candidate for _, candidate in Proposals(0, SHARES, mixed=True).next([], 8)]
    mixed = next(candidate for candidate in found if candidate.placement == "fastest")
    assert (mixed.quantizer, mixed.ratios, mixed.rate, mixed.by_hand) == ("pact", "uniform", 1.0, False)
    assert not any(candidate.placement == "fastest" for _, candidate in Proposals(0, SHARES).next([], 40))
    sections = [
        slim_section(
            replace(mixed, spared=count), "dense", counts="flops", ratios=None, noisy=["fc", "b"], slow=["stem", "fc"]
        )
        for count in (0, 1)
    ]
    assert [section["quant"]["skip"] for section in sections] == [["stem", "fc"], ["fc", "stem"]]
    assert QuantOptions(**sections[0]["quant"]).placement == "layers"
    plain = slim_section(Candidate(), "dense", counts="flops", ratios=None, noisy=[], slow=["stem"])
    assert "skip" not in plain["quant"]


def test_a_recipe_by_hand_has_no_teacher():
    candidate = Candidate(ratios="uniform", rate=1.0, teacher=False, share=0.5)
    assert candidate.by_hand
    assert set(slim_section(candidate, "dense", counts="flops", ratios=None, noisy=[])) == {"prune", "quant"}


def test_how_much_is_pruned_comes_from_the_measured_files():
    found = needed("bytes", 0.2, ANCHORS)
    assert found["float"] == pytest.approx(0.196)
    assert found["pact"] == found["lsq"] == found["ptq"] == pytest.approx((0.196 - 0.05) / 0.25)
    assert needed("bytes", 0.9, ANCHORS)["pact"] == 1.0
    assert needed("flops", 0.5, []) == pytest.approx({"pact": 0.49, "lsq": 0.49, "ptq": 0.49, "float": 0.49})


def test_costs_that_are_the_wrong_way_round_by_noise_do_not_prune_further_than_their_mean_says():
    costs = ((1.0, 0.68), (0.5, 0.65), (0.25, 0.53), (0.1, 0.55))
    timed = [Anchor(integers, kept, cost + (not integers)) for integers in (True, False) for kept, cost in costs]
    found = needed("latency", 0.6, timed)["pact"]
    assert found == pytest.approx(0.25 + 0.25 * (0.588 - 0.54) / (0.65 - 0.54))
    with pytest.raises(ValueError, match=r"with 25% of the flops left.*has 53.0%.*begins at latency: 0.55"):
        check_reachable("latency", 0.54, timed)


def test_a_network_that_is_slower_pruned_than_whole_stays_whole():
    costs = ((1.0, 0.55), (0.5, 0.6), (0.25, 0.65), (0.1, 0.7))
    timed = [Anchor(integers, kept, cost + (not integers)) for integers in (True, False) for kept, cost in costs]
    assert needed("latency", 0.58, timed) == {"pact": 1.0, "lsq": 1.0, "ptq": 1.0}


def test_a_target_below_the_cheapest_file_is_refused_and_told_where_it_would_begin():
    assert set(needed("latency", 0.09, ANCHORS)) == {"pact", "lsq", "ptq"}
    with pytest.raises(ValueError, match=r"target.latency: 0.05 is out of reach.*begins at latency: 0.08"):
        check_reachable("latency", 0.05, ANCHORS)
