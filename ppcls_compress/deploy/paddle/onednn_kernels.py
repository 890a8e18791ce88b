"""Which kernels oneDNN really runs for a program, by its own word.

`python -m ppcls_compress.deploy.paddle.onednn_kernels FOLDER` runs the program on one image; with ONEDNN_VERBOSE=1
oneDNN then writes a line about each kernel.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from ppcls_compress.deploy import fresh
from ppcls_compress.deploy.paddle import onednn
from ppcls_compress.deploy.paddle.inference import PaddleSession
from ppcls_compress.deploy.paddle.onednn_program import shape_of
from ppcls_compress.errors import UserError

_CONVOLUTION = ",exec,cpu,convolution,"
_TIME_LIMIT = 600.0
_INTEGERS = re.compile(r"\bsrc:[su]8:\S* wei:s8:")


def count(folder: Path) -> dict[str, tuple[int, int]]:
    """Convolutions that compute with integers, and all of them; linear layers are convolutions here.

    Args:
        folder: that `onednn.export` wrote to.

    Raises:
        UserError: the program does not run, or not within ten minutes.
    """
    environment = {**fresh.environment(1), "ONEDNN_VERBOSE": "1"}
    command = fresh.command(__name__, str(folder))
    try:  # in this process's own group: what ends the comparison ends this as well
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_TIME_LIMIT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{folder}: stopped, because it took longer than {_TIME_LIMIT:.0f} seconds") from error
    if done.returncode:
        raise UserError(f"{folder}: {fresh.failure(done.returncode, done.stderr)}")
    lines = [line for line in done.stdout.splitlines() if _CONVOLUTION in line]
    return {"Conv": (sum(_INTEGERS.search(line) is not None for line in lines), len(lines))}


def _run(folder: Path) -> None:
    predictor = onednn.create(folder, 1)
    (name,) = predictor.get_input_names()
    shape = shape_of(folder / onednn.NETWORK, name)
    PaddleSession(predictor).run(np.zeros([1, *shape[1:]], np.float32))


if __name__ == "__main__":
    _run(Path(sys.argv[1]))
