"""Which code is a network's own, where in it something happens, and what is wrong there if it cannot be traced."""

from __future__ import annotations

import os
import re
import sys
import traceback
from functools import cache
from pathlib import Path
from types import FrameType

import paddle

_PADDLE = str(Path(paddle.__file__).parent)
_NETWORKS = str(Path(_PADDLE) / "vision" / "models")
_OURS = str(Path(__file__).parent)
_WRAPPER = re.compile(r"site-packages/(decorator|wrapt)\b")  # through which Paddle calls its own functions

_BY_VALUE = (
    "it decides by the values of a tensor, which a trace does not have: choose by paddle.where, or outside of forward"
)
_TAKEN_OUT = (
    "it takes the values of a tensor out of the network, which a trace does not have: compute with Paddle's operators; "
    "remove a hook that only looks on while the network is traced"
)
_LOOSE = "it computes with a tensor that no layer holds: register it, self.register_buffer(name, tensor)"
_KNOWN = (
    (r"(bool|int|float|len)\(Tensor\)", _BY_VALUE),
    (r"'?(numpy|item|tolist)'? only can be called|has no attribute '(numpy|item|tolist)'", _TAKEN_OUT),
    (r"argument \(position \d+\) must be \w+, but got Tensor|must be Value, but got Tensor", _LOOSE),
)
"""What Paddle says, and what that means."""


@cache
def is_own_code(file: str) -> bool:
    """Whether this is code of a network, and not Paddle's or that of the tracer."""
    if file.startswith(_NETWORKS):
        return True
    return not file.startswith((_PADDLE, _OURS, "<frozen")) and not _WRAPPER.search(file)


def place_of(frame: FrameType, line: int | None = None) -> str:
    """`file:line`, with a file below the working directory named from there."""
    file = frame.f_code.co_filename
    if Path(file).is_absolute() and Path(file).is_relative_to(Path.cwd()):
        file = os.path.relpath(file)
    return f"{file}:{frame.f_lineno if line is None else line}"


def own_place() -> str | None:
    """Where in a network's own code the caller was called from."""
    frame = sys._getframe(1)
    while frame is not None and not is_own_code(frame.f_code.co_filename):
        frame = frame.f_back
    return None if frame is None else place_of(frame)


def raised_at(error: BaseException) -> str | None:
    """Where in a network's own code an error arose, or the one that it was made of."""
    found = None
    while error is not None:
        for frame, line in traceback.walk_tb(error.__traceback__):
            if is_own_code(frame.f_code.co_filename):
                found = place_of(frame, line)
        error = error.__cause__ or error.__context__
    return found


def known_reason(error: BaseException) -> str | None:
    """What is wrong with code that cannot be traced, and what helps; None for any other error."""
    return next((reason for pattern, reason in _KNOWN if re.search(pattern, str(error))), None)
