"""The process that holds one exported model and times it.

`python -m ppcls_compress.deploy.measure.latency_worker REQUEST`, with the JSON that `deploy.measure.latency` writes. It
answers "ready" when the model is loaded and warm. Then each line on its standard input is a number of runs, and each
answer [milliseconds of every run, peak bytes of this process].
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

WARM_UP = 5


def main(request: Mapping[str, Any], answers: TextIO) -> None:
    """Load, warm up, and time as told."""
    os.sched_setaffinity(0, request["cores"])
    # Imported once the cores are set, for runtimes count them when they start.
    import numpy as np

    session = _open(request)
    images = np.random.default_rng(0).standard_normal(request["shape"], np.float32)
    for _ in range(WARM_UP):
        session.run(images)
    gc.disable()
    answers.write('"ready"\n')
    for line in sys.stdin:
        session.run(images)  # brings back into the caches what the others' turns drove out
        times = []
        for _ in range(int(line)):
            start = time.perf_counter()
            session.run(images)
            times.append(1000 * (time.perf_counter() - start))
        answers.write(json.dumps([times, _peak_bytes()]) + "\n")


def _open(request: Mapping[str, Any]) -> Any:
    from ppcls_compress.deploy import artifact, formats, sessions

    exported, threads = artifact.load(request["directory"]), len(request["cores"])
    if not request["reduced"]:
        return sessions.open_session(exported, threads, request["runtime"])
    from ppcls_compress.deploy.onnx import runtime

    (file,) = formats.get(exported.description.format).files
    return runtime.load(exported.directory / file, "openvino", threads=threads, precision=None)


def _peak_bytes() -> int:
    """The largest resident size so far; `getrusage` would count the process that started this one as well."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    # What a runtime prints is no answer.
    stream = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    main(json.loads(sys.argv[1]), stream)
