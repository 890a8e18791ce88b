import os
import signal

import pytest

from ppcls_compress.stopping import Terminated, terminable


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
