"""From a clone to the page about one's own images, as the README has it: how long each command takes.

python benchmarks/newcomer.py                   # clone, environment, 200 images in five folders, to the report
python benchmarks/newcomer.py --keep DIR        # there, instead of in a temporary folder
python benchmarks/newcomer.py --weights FILE    # what the published weights would be, where there is no network

The commands are read from the README's "Your images". Without FILE it trains from random weights (`init --scratch`),
which takes as long. Each row has seconds on the clock and of the processor.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
_NAMES = ("runde Form", "quadrat's", "полосы 50%", "花 & Blüten", "noise, (old)")
_ENDINGS = (".jpg", ".png", ".JPG", ".webp", ".bmp")
_EACH = 40


def write_photos(root: Path) -> None:
    """Two hundred images of five kinds, in folders with odd names, some nested, and three files that are none."""
    rng = np.random.default_rng(0)
    for kind, name in enumerate(_NAMES):
        for index in range(_EACH):
            folder = root / name / ("" if index % 3 else f"day {index % 2 + 1}/raw")
            folder.mkdir(parents=True, exist_ok=True)
            ending = _ENDINGS[index % len(_ENDINGS)]
            data = cv2.imencode(ending.lower(), _drawn(kind, rng))[1].tobytes()
            (folder / f"IMG {index:03} (1){ending}").write_bytes(data)
    (root / _NAMES[0] / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (root / _NAMES[1] / "Thumbs.db").write_bytes(b"x")
    (root / ".DS_Store").write_bytes(b"x")


def _drawn(kind: int, rng: np.random.Generator) -> np.ndarray:
    height, width = rng.integers(240, 480, 2)
    image = cv2.GaussianBlur(rng.integers(0, 120, (height, width, 3), np.uint8), (9, 9), 0)
    colour = tuple(map(int, rng.integers(120, 255, 3)))
    x, y, size = map(int, rng.integers([70, 70, 30], [150, 150, 70]))
    if kind == 0:
        cv2.circle(image, (x, y), size, colour, -1)
    elif kind == 1:
        cv2.rectangle(image, (x, y), (x + size, y + size), colour, -1)
    elif kind == 2:
        for start in range(0, width, size):
            cv2.line(image, (start, 0), (start, height), colour, 6)
    elif kind == 3:
        for angle in range(0, 360, 60):
            cv2.ellipse(image, (x, y), (size, size // 4), angle, 0, 360, colour, -1)
    else:
        image = rng.integers(0, 255, image.shape, np.uint8)
    return image


def commands(text: str) -> list[list[str]]:
    """Words of the commands under "Your images", up to the report."""
    section = text.split("\n## Your images\n")[1]
    lines = "\n".join(re.findall(r"^ {4}(.*)$", section, re.MULTILINE)).replace("\\\n", " ").splitlines()
    found = [shlex.split(line, comments=True) for line in lines]
    return found[: 1 + next(index for index, words in enumerate(found) if words[:2] == ["ppcls-compress", "report"])]


def timed(words: list[str], folder: Path, variables: dict[str, str]) -> None:
    """Run a command and print its seconds; it must not fail, but may tell that one of the photos is broken."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True)
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{seconds:8.1f} {used:8.1f}  {shlex.join(words)}", flush=True)
    if done.returncode and "1 of 201 images have no answer" not in done.stderr:
        sys.exit(f"{done.stdout}{done.stderr}")


def walk(place: Path, weights: Path | None) -> None:
    """All of it, in an empty folder."""
    clone, variables = place / "clone", {**os.environ, "PPCLS_COMPRESS_CACHE": str(place / "cache")}
    variables.pop("PYTHONPATH", None)
    print(" seconds  of which on the processor")
    timed(["git", "clone", "--quiet", str(ROOT), str(clone)], place, variables)
    timed([sys.executable, "-m", "venv", ".venv"], clone, variables)
    variables["PATH"] = f"{clone / '.venv' / 'bin'}{os.pathsep}{variables['PATH']}"
    timed(["pip", "install", "--quiet", "-e", ".[test]"], clone, variables)
    write_photos(clone / "photos")
    for words in commands((ROOT / "README.md").read_text(encoding="utf-8")):
        if words[:2] == ["ppcls-compress", "init"] and weights is None:
            words = [*words, "--scratch"]
        timed(words, clone, variables)
        if words[:2] == ["ppcls-compress", "init"] and weights is not None:
            written = (clone / "my_photos" / "train.yaml").read_text(encoding="utf-8")
            target = Path(re.search(rf"{re.escape(str(place))}/cache/\S+?\.pdparams", written)[0])
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(weights, target)


def main() -> None:
    """Read the arguments and walk."""
    parser = argparse.ArgumentParser(description="time the README's way from a clone to a page about 200 images")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="an empty or new folder for all of it")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="published weights of MobileNetV3_small_x1_0")
    args = parser.parse_args()
    started = time.monotonic()
    if args.keep is not None:
        args.keep.mkdir(parents=True, exist_ok=True)
        walk(args.keep.resolve(), args.weights)
    else:
        with tempfile.TemporaryDirectory() as folder:
            walk(Path(folder).resolve(), args.weights)
    print(f"{time.monotonic() - started:8.1f}           in all")


if __name__ == "__main__":
    main()
