import os
import signal
import threading
import time

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


def test_signals_that_are_held_come_when_the_block_is_left():
    came = []

    def stopped_inside():
        with held():
            os.kill(os.getpid(), signal.SIGTERM)
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
        with held():
            signal.pthread_kill(other.ident, signal.SIGTERM)
            time.sleep(0.05)
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
            os._exit(0 if not signal.pthread_sigmask(signal.SIG_BLOCK, ()) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
