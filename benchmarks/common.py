"""What the benchmark scripts share: drawn weights, child processes, environments, medians.

Needs NumPy and the standard library only, because it is also imported inside the peers' own environments.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

RESULT_PREFIX = "RESULT "


def draw(key: str, shape: Sequence[int]) -> np.ndarray:
    """The float32 weight for a state-dict key: a function of the key and the shape, equal on every machine.

    Statistics and scales lie in [0.5, 1.5), biases are normal with deviation 0.1, everything else is He-normal.
    """
    shape = tuple(int(size) for size in shape)
    rng = np.random.RandomState(zlib.crc32(key.encode()))
    if key.endswith("_variance") or (len(shape) == 1 and key.endswith("weight")):
        value = rng.uniform(0.5, 1.5, shape)
    elif len(shape) < 2:
        value = 0.1 * rng.randn(*shape)
    else:
        fan_in = shape[0] if len(shape) == 2 else int(np.prod(shape[1:]))
        value = rng.randn(*shape) * np.sqrt(2.0 / fan_in)
    return np.asarray(value, dtype=np.float32)


def fill(model) -> None:
    """Give every entry of a Paddle layer's state dict its drawn value."""
    for key, tensor in model.state_dict().items():
        tensor.set_value(draw(key, tensor.shape))


def emit(result: Mapping[str, object]) -> None:
    """Hand a child's result to `run_child`: one marked JSON line on standard output."""
    sys.stdout.write(RESULT_PREFIX + json.dumps(result) + "\n")
    sys.stdout.flush()


def read_results(path: Path) -> dict[str, dict[str, object]]:
    """Finished cells by key; the last line of a cell counts, and a line cut off by a kill does not."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            result = json.loads(line)
        except json.JSONDecodeError:
            sys.stderr.write(f"{path}: a cut-off line is left out\n")
            continue
        found[result["cell"]] = result
    return found


def append(path: Path, result: Mapping[str, object]) -> None:
    """Add a finished cell, on a line of its own even after one that was cut off."""
    cut_off = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write(("\n" if cut_off else "") + json.dumps(result) + "\n")


_KERNELS = "MKL_DEBUG_CPU_TYPE"
_GIVEN = os.environ.get(_KERNELS)


def given_environment() -> dict[str, str]:
    """The environment as the user has it, for peers, whose matrix products are to be Paddle's as they come.

    Where `ppcls_compress` is imported it sets `ppcls_compress.machine.KERNELS`, also for what is started from there;
    so this module is to be imported first.
    """
    found = {key: value for key, value in os.environ.items() if key != _KERNELS}
    return found if _GIVEN is None else {**found, _KERNELS: _GIVEN}


def run_child(
    command: Sequence[str], *, timeout: float, env: Mapping[str, str] | None = None
) -> tuple[dict[str, object] | None, str]:
    """Run a command in a fresh process; return what it emitted (or None) and why it failed (or "").

    The reason is the last line of standard error, or the time-out, or the signal.
    """
    try:
        done = subprocess.run(
            list(command),
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**given_environment(), **(env or {})},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"no result within {timeout:.0f} s"
    marked = [line for line in done.stdout.splitlines() if line.startswith(RESULT_PREFIX)]
    if done.returncode == 0 and marked:
        return json.loads(marked[-1][len(RESULT_PREFIX) :]), ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    reason = lines[-1] if lines else "no message"
    return None, f"exit code {done.returncode}: {reason[:300]}"


def every_nth(path: Path, count: int) -> str:
    """`count` lines from all over a list file, or all if there are fewer, as the text of another one."""
    listed = path.read_text().splitlines()
    return "\n".join(listed[:: max(1, len(listed) // count)][:count]) + "\n"


def trained(config: Path, folder: Path, arch: str, settings: Mapping[str, object]) -> Path:
    """Train with the command of this toolkit, from where a killed run stopped; return the prefix of the last weights.

    Args:
        config: the YAML file.
        folder: of the run; its file `done` says that it has ended.
        arch: name of the network.
        settings: by dotted key, more of what the file says.
    """
    last = folder / arch / "latest"
    if (folder / "done").exists():
        return last
    settings = {"Arch.name": arch, "Global.output_dir": folder, **settings}
    if last.with_suffix(".pdstates").exists():
        settings = {**settings, "Global.checkpoints": last}
        settings.pop("Global.pretrained_model", None)
    overrides = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    script = Path(__file__).resolve().parent.parent / "tools" / "train.py"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("a") as log:
        command = [sys.executable, str(script), "-c", str(config), *overrides]
        done = subprocess.run(command, check=False, stdout=log, stderr=subprocess.STDOUT)
    if done.returncode:
        lines = (folder / "log.txt").read_text().splitlines()
        raise SystemExit(f"{folder / 'log.txt'}: {lines[-1] if lines else 'no message'}")
    (folder / "done").touch()
    return last


def reset_peak_memory() -> None:
    """Let the kernel forget this process's highest resident size (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def resident_memory(*, peak: bool = False) -> int:
    """Resident size of this process in bytes: now, or its highest since `reset_peak_memory` (Linux)."""
    field = "VmHWM:" if peak else "VmRSS:"
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def processor_seconds(work: Callable[[], object]) -> float:
    """Seconds of the processor that something takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def machine() -> str:
    """One line that says where a number was measured."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"
