"""How long each command leaves a terminal as it is: the longest silence, in seconds, measured on a pseudo-terminal.

python benchmarks/silence.py                  # the commands of the demo, in a temporary folder
python benchmarks/silence.py --limit 2        # exit code 1 if one is silent for longer
python benchmarks/silence.py -- ppcls-compress train -c my.yaml      # any command
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_COLUMNS = 160


@dataclass(frozen=True)
class Silence:
    """The longest time without a byte, when it began, both in seconds, and the last thing shown before it."""

    seconds: float
    at: float
    after: str
    code: int


def longest_silence(words: Sequence[str], folder: str | Path) -> Silence:
    """Run a command on a pseudo-terminal and wait for its end."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, _COLUMNS, 0, 0))
    variables = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
    started = last = time.monotonic()
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=variables, cwd=folder)
    os.close(theirs)
    seconds, at, after, shown = 0.0, 0.0, "", ""
    while True:
        ready, _, _ = select.select([ours], [], [], 0.05)
        now = time.monotonic()
        if now - last > seconds:
            seconds, at, after = now - last, last - started, shown
        if not ready:
            continue
        try:
            data = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        last, shown = now, data.decode(errors="replace")
    os.close(ours)
    return Silence(seconds, at, _plain(after), process.wait())


def _plain(text: str) -> str:
    """The last line of what was shown, without control sequences."""
    text = "".join(
        f" {part}" if i == 0 else part.lstrip("0123456789;?=")[1:] for i, part in enumerate(text.split("\x1b["))
    )
    lines = [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
    return lines[-1][:80] if lines else ""


def demo(folder: str) -> dict[str, list[str]]:
    """The commands of the quick start, each with a run of its own."""
    start = [sys.executable, "-m", "ppcls_compress"]
    subprocess.run(
        [sys.executable, "-m", "ppcls_compress.data.digits", "--out", "dataset/digits"],
        cwd=folder,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )

    def configured(command: str, kind: str, weights: str | None, *more: str) -> list[str]:
        given = ["-o", f"Global.pretrained_model=output/{weights}/CIFARResNet20/best_model"] if weights else []
        return [*start, command, "-c", f"{ROOT}/configs/quick_start/{kind}.yaml", *given, *more]

    dense, pact = "digits_resnet", "digits_resnet_pact"
    short, ptq = ["-o", "Global.epochs=2"], ["-o", "Slim.quant={name: ptq}"]
    contract = ["-o", "Slim.auto={max_drop: 60, target: {params: 0.6}, budget: {trials: 3, epochs: 1}}"]
    photos = f"{folder}/dataset/digits/images"
    return {
        "data.folder": [sys.executable, "-m", "ppcls_compress.data.folder", photos, "--out", "lists"],
        "init": [*start, "init", "--images", photos, "--out", "made", "--scratch"],
        "train": configured("train", dense, None, *short),
        "train, pruning": configured("train", "digits_resnet_fpgm", dense, *short),
        "train, quantizing": configured("train", pact, dense, *short),
        "train --dry-run": configured("train", pact, None, "--dry-run"),
        "eval": configured("eval", pact, pact),
        "summary": configured("summary", pact, pact),
        "quantize": configured("quantize", dense, dense, *ptq),
        "analyze": configured("analyze", dense, dense, *ptq),
        "sensitivity": configured("sensitivity", dense, dense, "--images", "60"),
        "export_model": configured("export_model", pact, pact, "--format", "all"),
        "export_model, float": configured("export_model", dense, dense),
        "infer": [*start, "infer", "--artifact", f"output/{pact}/inference", "--images", "dataset/digits/images/7"],
        "benchmark": [*start, "benchmark", "--artifacts", f"output/{pact}/inference", "--rounds", "9"],
        "report": [*start, "report", f"dense=output/{dense}", f"int8=output/{pact}", "--rounds", "9"],
        "compress": configured("compress", dense, dense, *contract),
        "profile": configured("profile", dense, None, "--runtime", "onnx-ort"),
        "check_configs": [*start, "check_configs", f"{ROOT}/configs/quick_start"],
    }


def main() -> int:
    """Prints a row for each command; the exit code is 1 if one failed or was silent for too long."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=float, default=2.0, help="seconds (default: 2)")
    parser.add_argument("command", nargs="*", help="a command of your own")
    args = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        rows = {args.command[0]: args.command} if args.command else demo(folder)
        for name, words in rows.items():
            found = longest_silence(words, Path.cwd() if args.command else folder)
            bad = found.seconds > args.limit or found.code != 0
            wrong += bad
            mark = "too long" if found.seconds > args.limit else "failed" if found.code else "ok"
            sys.stdout.write(
                f"{name:18} {found.seconds:5.2f} s from {found.at:6.1f} s on, after {found.after!r}: {mark}\n"
            )
            sys.stdout.flush()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
