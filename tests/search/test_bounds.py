from math import comb, sqrt

import numpy as np
import pytest

from ppcls_compress.search.bounds import ALPHA, levels, paired_bound, resampled_bound


def by_search(lost, gained, count, z=1.6448536269514722):
    """The same end with the constrained likelihood maximised on a grid, and no formula of a root."""
    drops = np.linspace((lost - gained) / count + 1e-6, 0.3, 600)
    for drop in drops:
        shares = np.linspace(max(0.0, -drop) + 1e-9, (1 - drop) / 2 - 1e-9, 1500)  # of gained images
        likelihood = (
            lost * np.log(shares + drop)
            + gained * np.log(shares)
            + (count - lost - gained) * np.log1p(-2 * shares - drop)
        )
        share = shares[likelihood.argmax()]
        if lost - gained - count * drop <= -z * sqrt(count * (2 * share + drop * (1 - drop))):
            return drop
    raise AssertionError("no end below 0.6")


@pytest.mark.parametrize(("lost", "gained", "count"), [(3, 1, 60), (7, 7, 200), (1, 4, 90)])
def test_the_bound_is_that_of_the_score_test(lost, gained, count):
    assert paired_bound(lost, gained, count) == pytest.approx(by_search(lost, gained, count), abs=1.5e-3)


def test_answers_that_are_all_the_same_prove_no_more_than_so_many_images_can():
    assert paired_bound(0, 0, 180) == pytest.approx(1.6448536**2 / (180 + 1.6448536**2))
    assert paired_bound(0, 0, 5000) < 0.001


def test_the_bound_holds_as_often_as_it_says():
    """Over every outcome of 40 images: a true drop lies above the bound in about one of twenty at most."""
    count, lost_share, gained_share = 40, 0.12, 0.04
    missed = 0.0
    for lost in range(count + 1):
        for gained in range(count + 1 - lost):
            if paired_bound(lost, gained, count) < lost_share - gained_share:
                ways = comb(count, lost) * comb(count - lost, gained)
                rest = (1 - lost_share - gained_share) ** (count - lost - gained)
                missed += ways * lost_share**lost * gained_share**gained * rest
    assert 0.02 < missed < 0.06


def test_what_several_candidates_may_err_adds_up_to_less_than_what_one_may():
    assert levels(1) == [pytest.approx(0.04)]
    assert levels(3) == sorted(levels(3), reverse=True)
    assert sum(levels(50)) <= ALPHA + 1e-12
    assert paired_bound(2, 1, 100, levels(2)[1]) > paired_bound(2, 1, 100, levels(2)[0])


def test_the_resampled_bound_lies_above_the_drop_and_is_the_same_each_time():
    values = np.random.default_rng(3).normal(0.1, 1.0, 400)
    bound = resampled_bound(lambda at: float(values[at].mean()), 400)
    assert bound == resampled_bound(lambda at: float(values[at].mean()), 400)
    assert bound == pytest.approx(values.mean() + 1.645 * values.std() / 20, abs=0.02)


def test_a_small_share_of_the_error_takes_more_draws():
    values = np.random.default_rng(3).normal(0.1, 1.0, 400)
    draws = []
    bound = resampled_bound(lambda at: draws.append(0) or float(values[at].mean()), 400, levels(4)[3])
    assert len(draws) * levels(4)[3] >= 5
    assert bound == pytest.approx(values.mean() + 3.414 * values.std() / 20, abs=0.02)


@pytest.mark.parametrize(("count", "open_"), [(2, 0.776), (180, 0.0165), (10000, 0.0003)])
def test_answers_that_never_differ_leave_open_what_so_few_images_cannot_tell(count, open_):
    assert resampled_bound(lambda at: 0.0, count) == pytest.approx(open_, abs=5e-4)


def test_a_gain_does_not_hide_that_so_few_images_show_no_loss():
    values = np.zeros(200)
    values[7] = -1.0  # gained
    open_ = 1 - ALPHA ** (1 / 200)
    assert resampled_bound(lambda at: float(values[at].mean()), 200) == pytest.approx(open_)
    values[8:12] = 1.0
    assert resampled_bound(lambda at: float(values[at].mean()), 200) == pytest.approx(0.035, abs=0.006)
