"""What a test draws depends on nothing but its name and those of its fixtures."""

import random

import numpy as np
import paddle
import pytest
from support.seeding import seed


def drawn():
    return random.random(), np.random.rand(), paddle.rand([1]).item()


@pytest.fixture(scope="module")
def made():
    return drawn()


def test_a_test_begins_with_draws_of_its_own_whatever_was_drawn_before(made, request):
    first, second = drawn(), drawn()
    seed(request.node.nodeid)
    assert drawn() == first
    others = [second, made]
    for name in ("another test", "tests::made"):
        seed(name)
        others.append(drawn())
    assert not set(first).intersection(*others)


def test_a_fixture_begins_with_draws_of_its_own(made):
    seed("tests/test_seeding.py::made")
    assert drawn() == made
