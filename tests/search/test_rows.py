import pytest

from ppcls_compress.config.auto import Auto
from ppcls_compress.search import rows
from ppcls_compress.search.board import Job
from ppcls_compress.search.judge import Costs, Drop

TARGET = Auto(max_drop=1.0, target={"bytes": 0.5})
SMALLEST = Auto(max_drop=1.0, minimize="bytes")


def row(name, points, share, number=0, bound=None, *, by_hand=False):
    drop = Drop(points, points + 0.5 if bound is None else bound, 100)
    shares = {"bytes": share, "flops": 1.0}
    return rows.Row(name, int(name[:3]), number, name, "artifact", shares, drop, by_hand=by_hand)


def test_a_finished_job_becomes_a_row():
    dense = Costs(1000, 100, 10)
    what = {"slot": 2, "round": 1, "title": "fpgm", "by_hand": False}
    result = {"artifact": "a", "drop": vars(Drop(1.0, 2.0, 50)), "cost": vars(Costs(250, 50, 5, 0.4)), "seconds": 3.0}
    found = rows.row_of(Job("002-1", what, "done", 0, result), dense)
    assert found.shares == {"latency": 0.4, "flops": 0.5, "bytes": 0.25, "params": 0.5}
    failed = rows.row_of(Job("002-1", what, "done", 0, {"failed": "NaN"}), dense)
    assert (failed.drop, failed.lost) == (None, "failed: NaN")


def test_with_a_target_the_smallest_drop_within_it_leads():
    found = [row("000-0", 0.1, 0.6), row("001-0", 2.0, 0.4), row("002-0", 0.5, 0.5), row("003-0", 0.5, 0.4)]
    assert [each.name for each in rows.ranked(found, TARGET)] == ["003-0", "002-0", "001-0", "000-0"]
    assert [each.name for each in rows.going_on(found, TARGET)] == ["003-0", "002-0"]


def test_of_equal_drops_the_one_that_the_images_leave_less_open_of_leads():
    found = [row("000-0", 0.5, 0.4, bound=2.0), row("001-0", 0.5, 0.5, bound=1.2)]
    assert [each.name for each in rows.ranked(found, TARGET)] == ["001-0", "000-0"]


def test_recipes_by_hand_go_on_unless_another_of_them_is_surely_better():
    found = [row(f"00{slot}-0", slot / 5, 0.4, by_hand=slot in (3, 4)) for slot in range(6)]
    assert [each.name for each in rows.going_on(found, TARGET)] == ["000-0", "001-0", "003-0", "004-0"]
    found[0] = row("000-0", 0.0, 0.4, by_hand=True)  # less than 0.5, with 95% confidence
    assert [each.name for each in rows.going_on(found, TARGET)] == ["000-0", "001-0"]
    too_big = [row("000-0", 0.5, 0.4), row("001-0", 0.1, 0.6, by_hand=True)]
    assert [each.name for each in rows.going_on(too_big, TARGET)] == ["000-0"]


def test_without_one_the_cheapest_within_the_drop_leads():
    found = [row("000-0", 0.1, 0.6), row("001-0", 1.2, 0.2), row("002-0", 0.9, 0.5)]
    assert [each.name for each in rows.ranked(found, SMALLEST)] == ["002-0", "000-0", "001-0"]


def test_finalists_are_sure_ones_first_then_those_that_were_trained_longest_each_candidate_once():
    found = [row("000-0", 0.4, 0.5), row("000-1", 0.2, 0.5, 1), row("001-0", 0.1, 0.5, bound=1.4), row("002-0", 9, 0.4)]
    assert [each.name for each in rows.finalists(found, TARGET)] == ["000-1", "001-0", "002-0"]
    found.append(row("002-1", 3.0, 0.4, 1))
    assert [each.name for each in rows.finalists(found, TARGET)] == ["000-1", "002-1", "001-0"]


def test_a_candidate_takes_part_with_its_longest_training_unless_a_shorter_one_is_surely_better():
    short, long = row("000-1", 0.0, 0.5, 1, bound=2.4), row("000-2", 1.0, 0.5, 2, bound=3.5)
    assert rows.finalists([short, long], TARGET) == [long]  # two of two hundred images tell nothing
    diverged = row("000-2", 40.0, 0.5, 2)
    assert rows.finalists([short, diverged], TARGET) == [short]


def test_finalists_cost_no_more_than_they_may():
    assert rows.finalists([row("000-0", 0.0, 0.6)], TARGET) == []


def test_every_loser_has_a_reason_and_the_chosen_none():
    found = [row("000-0", 0.4, 0.5), row("000-1", 0.2, 0.5, 1), row("001-0", 0.1, 0.6), row("002-0", 0.9, 0.4)]
    told = rows.explained(found, TARGET, {"002-0": "lost on the deciding images"}, "000-1")
    assert told[0].lost == "0.40 points lost on the images of the search; it was trained longer as 000-1"
    assert told[1].lost == ""
    assert told[2].lost == "60.0% of the bytes, 50.0% are allowed"
    assert told[3].lost == "lost on the deciding images"


def test_of_equals_one_is_told_why_another_was_chosen():
    found = [row("000-2", 0.5, 0.5, 2), row("001-2", 0.5, 0.4, 2), row("002-0", 0.7, 0.4)]
    told = [each.lost.partition("; ")[2] for each in rows.explained(found, TARGET, {}, "001-2")]
    equal = "none is better, but of equals those that were trained longer, or cost less, come first"
    assert told == [equal, "", "2 trainings of other candidates are better"]


def test_the_front_holds_what_no_other_beats_in_both():
    found = [row("000-0", 0.4, 0.5), row("001-0", 0.4, 0.6), row("002-0", 0.1, 0.9)]
    assert rows.pareto(found, "bytes") == {"000-0", "002-0"}
    plain = rows.plain(found[0], {"000-0"})
    assert plain["bytes_share"] == pytest.approx(0.5)
    assert plain["pareto"] is True
