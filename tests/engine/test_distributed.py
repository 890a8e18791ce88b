"""How processes that train together find one another."""

import paddle
import pytest

from ppcls_compress.engine import distributed

FLAG = "FLAGS_tcp_store_using_libuv"


@pytest.fixture
def found(monkeypatch):
    """What the flag was when each process group was made, for a process that is one of two."""
    try:
        before = paddle.get_flags([FLAG])
    except ValueError:
        pytest.skip("this Paddle has one store only")
    values = []
    monkeypatch.delenv(FLAG, raising=False)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed.dist, "is_initialized", lambda: bool(values))
    monkeypatch.setattr(distributed.dist, "init_parallel_env", lambda: values.append(paddle.get_flags([FLAG])[FLAG]))
    paddle.set_flags({FLAG: True})
    yield values
    paddle.set_flags(before)


def test_ranks_meet_at_the_store_that_survives_the_others_end(found):
    distributed.start()
    distributed.start()
    assert found == [False]


def test_a_store_that_the_environment_names_is_kept(found, monkeypatch):
    monkeypatch.setenv(FLAG, "1")
    distributed.start()
    assert found == [True]
