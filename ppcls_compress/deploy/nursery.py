"""Processes that are forked from one where Paddle is loaded and nothing was computed: it is not loaded again."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from multiprocessing import connection
from typing import Any

from ppcls_compress.deploy import fresh
from ppcls_compress.errors import UserError

_STATED = 1
"""The exit code of a process that wrote why it failed."""


class Nursery:
    """Runs functions, each in a process of its own that shares no state with the one that asks.

    It is made where Paddle is loaded and before it has computed anything, and ends with the process that made it.

    Example:
        >>> with Nursery() as nursery:
        ...     nursery.run(verify.answer, request)
    """

    def __init__(self) -> None:
        context = multiprocessing.get_context("fork")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(self._connection, theirs))
        self._process.start()
        theirs.close()

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.join()

    def run(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call a function of a module in a process of its own, and wait for its end.

        Raises:
            UserError: it failed or crashed; the message ends with the last line it wrote.
        """
        with tempfile.NamedTemporaryFile("r", encoding="utf-8") as log:
            try:
                self._connection.send((function, arguments, log.name))
                code = self._connection.recv()
            except (EOFError, OSError):  # which of them depends on whether it had read what it is asked
                raise UserError(f"{function.__module__}: the process that it is forked from has ended") from None
            if code:
                raise UserError(f"{function.__module__}: {fresh.failure(code, log.read())}")


def _serve(asking: connection.Connection, requests: connection.Connection) -> None:
    asking.close()  # this process's copy, so that the end of the other one is seen
    context = multiprocessing.get_context("fork")
    while True:
        try:
            function, arguments, log = requests.recv()
        except EOFError:
            return
        process = context.Process(target=_call, args=(requests, function, arguments, log))
        process.start()
        process.join()
        requests.send(process.exitcode)


def _call(requests: connection.Connection, function: Callable[..., None], arguments: tuple, log: str) -> None:
    requests.close()
    with open(log, "w", buffering=1, encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.stdout = sys.stderr = file
        try:
            function(*arguments)
        except Exception:  # told by its last line, as a module's that is run
            traceback.print_exc()
            os._exit(_STATED)
