import os
import signal
import threading
from contextlib import contextmanager

import pytest

from ppcls_compress.stopping import Terminated, dropped, held, terminable


def test_a_second_sigterm_does_not_interrupt_what_the_first_one_cleans_up():
    """Launchers send it several times."""
    cleaned = []

    def stopped_twice():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            cleaned.append(True)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), terminable():
        stopped_twice()
    assert cleaned
    assert signal.getsignal(signal.SIGTERM) == before


@contextmanager
def arrivals():
    """Read end of a pipe that gets a byte whenever Python has taken note of a signal, on whichever thread it came."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.set_wakeup_fd(write)
    try:
        yield read
    finally:
        signal.set_wakeup_fd(before)
        os.close(read)
        os.close(write)


def test_signals_that_are_held_come_when_the_block_is_left():
    came = []

    def stopped_inside():
        with held():
            signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
            came.append("later")
        came.append("not here")

    with pytest.raises(Terminated), terminable():
        stopped_inside()
    assert came == ["later"]


def test_signals_that_another_thread_is_given_are_held_too():
    came, idle = [], threading.Event()
    other = threading.Thread(target=idle.wait, daemon=True)
    other.start()

    def stopped_inside():
        with held(), arrivals() as noted:
            signal.pthread_kill(other.ident, signal.SIGTERM)
            os.read(noted, 1)
            came.append("later")
        came.append("not here")

    with pytest.raises(Terminated), terminable():
        stopped_inside()
    idle.set()
    assert came == ["later"]


def test_a_process_started_meanwhile_drops_those_that_came():
    with held():
        child = os.fork()
        if child == 0:  # as a data worker: what came before it was ready is not for it
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            dropped()
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
            os._exit(0 if blocked.isdisjoint((signal.SIGTERM, signal.SIGINT)) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
