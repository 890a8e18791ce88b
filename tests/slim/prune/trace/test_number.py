"""Numbers that remember how they are computed are otherwise the numbers they are."""

import copy
import math
import pickle
from operator import add, floordiv, mod, mul, sub

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppcls_compress.slim.prune.trace.formula import Dim, evaluate, leaves
from ppcls_compress.slim.prune.trace.number import Log, Number, Share, formula_of

A, B = Dim("x", 1, 24), Dim("y", 0, 7)


@pytest.fixture
def log():
    return Log()


def number(log, leaf=A):
    return Number.of(leaf.value, leaf, log)


STEP = st.tuples(st.sampled_from((add, sub, mul, floordiv, mod)), st.integers(1, 9), st.booleans())


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.lists(STEP, max_size=6))
def test_arithmetic_is_that_of_integers_and_so_is_the_formula(steps):
    log = Log()
    traced, plain = number(log), A.value
    other = number(log, B)
    for index, (operation, constant, swapped) in enumerate(steps):
        mine, yours = (other, B.value) if index % 2 else (constant, constant)
        if plain == 0 and swapped and operation in (floordiv, mod):
            return
        traced, plain = (operation(mine, traced), operation(yours, plain)) if swapped else (
            operation(traced, mine), operation(plain, yours))  # fmt: skip
    assert type(traced) is Number
    assert int(traced) == plain
    assert evaluate(formula_of(traced), lambda leaf: leaf.value) == plain


def test_a_formula_gives_the_number_for_other_sizes(log):
    x = number(log)
    found = (3 * x + 2) // 4 - x % 5
    assert leaves(formula_of(found)) == {A}
    for size in (1, 10, 40):
        assert evaluate(formula_of(found), lambda leaf, size=size: size) == (3 * size + 2) // 4 - size % 5


def test_what_python_does_with_integers_works(log):
    x = number(log, B)
    assert (list(range(x)), [0] * x, "abcdefgh"[x], f"{x:03d}") == (list(range(7)), [0] * 7, "h", "007")
    assert (divmod(x, 3), x >> 1, x << 1, -x, abs(-x), round(x), math.floor(x)) == ((2, 1), 3, 14, -7, 7, 7, 7)
    assert ({7: 1}[x], max(x, 3), min(x, 3), sum([x, x]), x**2, x**-1) == (1, 7, 3, 14, 49, 1 / 7)
    assert np.array([x, 1]).tolist() == [7, 1]
    assert formula_of(max(x, 3)) == B
    for copied in (copy.deepcopy(x), pickle.loads(pickle.dumps(x)), int(x)):
        assert type(copied) is int


def test_comparisons_of_a_networks_own_code_are_noted_with_their_place(log):
    x = number(log)
    assert x > 3
    assert x == 24
    assert x
    assert [(guard.sign, guard.right, guard.outcome) for guard in log.guards] == [
        (">", 3, True), ("==", 24, True), ("bool", 0, True),
    ]  # fmt: skip
    assert all("test_number.py:" in guard.place for guard in log.guards)
    assert [guard.holds(lambda leaf: 2) for guard in log.guards] == [False, False, True]


@pytest.mark.parametrize(
    "compute",
    [lambda x: int(x * 0.5), lambda x: int(x / 2), lambda x: int(x / 4 * 2), lambda x: math.floor(x * 0.5),
     lambda x: round(x / 2), lambda x: math.ceil(x / 2), lambda x: int(x * 0.75 / 1.5)],
)  # fmt: skip
def test_a_rounded_share_is_known_or_guessed(compute, log):
    found = compute(number(log))
    assert found == 12
    formula = formula_of(found) if isinstance(found, Number) else log.losses[-1].formula
    assert [evaluate(formula, lambda leaf, size=size: size) for size in (24, 16, 10)] == [12, 8, 5]


def test_numbers_are_plain_once_the_forward_pass_is_over(log):
    x, share = number(log), number(log) / 2
    log.open = False
    assert type(x + 1) is int
    assert type(share * 2) is float
    assert type(share) is Share
    assert x == 24
    assert log.guards == []
