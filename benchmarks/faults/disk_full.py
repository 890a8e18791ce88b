"""A disk that fills during every save: does what was saved before still load, and is the error one line?

    python benchmarks/faults/disk_full.py        # needs the right to mount; results/faults/disk_full.jsonl

A small file system in memory holds the run. Before each save a filler leaves so many bytes free, from none to enough,
in steps; the checkpoint of the epoch before, or the new one, must be whole, and what did not fit must be gone.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

from harness import RESULTS as FOLDER
from harness import append, machine, read_results
from runs import KINDS, finished, leftovers, run, started
from support.project import make_project

from ppcls_compress import io
from ppcls_compress.engine import checkpoint

RESULTS = FOLDER / "disk_full.jsonl"
SETTINGS = ("Global.epochs=2", "Global.save_format=safetensors")
STEPS = 16


def main() -> None:
    """Run each kind and each step of free space that is not there yet."""
    done = read_results(RESULTS)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="faults-disk-") as root:
        config = make_project(Path(root) / "project", EMA={"decay": 0.9})
        disk = Path(root) / "disk"
        disk.mkdir()
        for kind, slim in KINDS.items():
            first = Path(root) / f"first-{kind}"
            run("train", config, *SETTINGS, *slim, "Global.epochs=1", f"Global.output_dir={first}")
            size = sum(path.stat().st_size for path in first.rglob("*") if path.is_file())
            for step in range(STEPS):
                cell = f"{kind}/{step}"
                if cell not in done:
                    free = int(size * 1.1 * step / (STEPS - 1))
                    row = _full(config, disk, first, slim, free, size)
                    append(RESULTS, {"cell": cell, **row, "machine": machine(), "date": time.strftime("%Y-%m-%d")})
                    print(cell, row, flush=True)
    done = read_results(RESULTS)
    failed, bad = sum(row["code"] != 0 for row in done.values()), [cell for cell, row in done.items() if row["bad"]]
    print(f"{len(done)} runs, {failed} of them stopped by a full disk, {len(bad)} not as they should be", *bad)


def _full(config: Path, disk: Path, first: Path, slim: tuple[str, ...], free: int, size: int) -> dict[str, object]:
    total = 4 * size + (1 << 20)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={total}", "tmpfs", str(disk)], check=True)
    try:
        subprocess.run(["cp", "-r", f"{first}/.", str(disk)], check=True)
        prefix = disk / "CIFARResNet8" / "latest"
        before = checkpoint.saved_epoch(prefix)
        _fill(disk, free)
        log = config.parent / f"log-{os.getpid()}"
        log.unlink(missing_ok=True)
        overrides = (*SETTINGS, *slim, f"Global.output_dir={disk}", f"Global.checkpoints={prefix}")
        code = finished(started("train", config, *overrides, log=log))
        text = log.read_text()
        bad = [] if code in (0, 2) else [f"exit code {code}"]
        bad += [text[-600:]] if "Traceback" in text else []
        bad += leftovers(disk)
        epoch = checkpoint.saved_epoch(checkpoint.usable(prefix, strict=False)[0])
        bad += [] if (before, epoch) in ((1, 1), (1, 2)) else [f"epochs {before}, {epoch}"]
        for name in ("best_model", "epoch_1"):
            bad += [] if checkpoint.saved_epoch(prefix.with_name(name)) else [f"{name} does not load"]
        io.read_state(f"{prefix}.pdparams")
        return {"free": free, "code": code, "epoch": epoch, "bad": bad}
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def _fill(disk: Path, free: int) -> None:
    """Fill a disk up to so many bytes."""
    left = os.statvfs(disk)
    count = max(left.f_bavail * left.f_frsize - free, 0)
    with open(disk / "filler", "wb") as file:
        file.write(b"\0" * count)


if __name__ == "__main__":
    main()
