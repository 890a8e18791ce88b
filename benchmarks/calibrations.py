"""What comparisons of calibrations share: a network and its prepared images, files of it, what they answer, a table.

A network is loaded only when one is asked for, because this is also imported in the peers' environments.
"""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from common import append, machine, read_results, run_child

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

BATCH = 32
RUNTIMES = {"openvino": "openvino", "ort": "onnxruntime"}
"""By layout, the runtime that it is made for."""
PTQ = {"name": "ptq"}
PEERS = ("quantize_static", "nncf performance", "nncf mixed")
FLOAT = "float"


@dataclass(frozen=True)
class Subject:
    """A trained network and the images that it is calibrated and judged on.

    Attributes:
        arch: its name in the catalogue.
        class_num: how many classes it tells.
        weights: path prefix of its weights, and of the record of what made it smaller where there is one.
        work: folder of the images, which are `NAME.npy`, float32 [N, C, H, W] as the network reads them, and
            `NAME_labels.npy`; `calibration` is one of the names, the others are what is judged. Files go there too.
        splits: the names of what is judged; differences are told on the last.
    """

    arch: str
    class_num: int
    weights: Path
    work: Path
    splits: tuple[str, ...]

    def calibration(self, count: int | None = None) -> list[np.ndarray]:
        """Batches of the first images to calibrate on; of all by default."""
        return batches_of(images(self.work, "calibration")[0][:count])

    def network(self):
        """The network with its weights, in evaluation mode."""
        return load(self.arch, self.class_num, self.weights)


@dataclass(frozen=True)
class Job:
    """Cells that come out of one computation.

    Attributes:
        cells: their names.
        run: gives what is known of each, in that order.
    """

    cells: tuple[str, ...]
    run: Callable[[], Sequence[dict]]


def run_jobs(jobs: Sequence[Job], path: Path, only: Sequence[str]) -> None:
    """Run what is not done yet, and append its cells to a file; `only` are globs over names, none for all."""
    for job in jobs:
        missing = [name for name in job.cells if name not in read_results(path)]
        wanted = [name for name in missing if not only or any(fnmatch.fnmatchcase(name, glob) for glob in only)]
        if not wanted:
            continue
        sys.stderr.write(f"{', '.join(job.cells)}\n")
        for name, found in zip(job.cells, job.run(), strict=True):
            if name in missing:
                append(path, {"cell": name, "machine": machine(), "date": str(date.today()), **found})


def images(work: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images as the network reads them, float32 [N, C, H, W], and labels."""
    return np.load(work / f"{name}.npy", mmap_mode="r"), np.load(work / f"{name}_labels.npy")


def keep_images(work: Path, name: str, found: np.ndarray, labels: np.ndarray) -> None:
    """Write what `images` reads."""
    np.save(work / f"{name}.npy", found)
    np.save(work / f"{name}_labels.npy", labels)


def batches_of(found: np.ndarray) -> list[np.ndarray]:
    """Batches of some images, [32, C, H, W]; the last one may be smaller."""
    return [np.ascontiguousarray(batch) for batch in np.split(found, range(BATCH, len(found), BATCH))]


def load(arch: str, class_num: int, prefix: Path):
    """The network of a checkpoint, as its record says, in evaluation mode."""
    from ppcls_compress import io, models
    from ppcls_compress.engine import checkpoint
    from ppcls_compress.models import weights
    from ppcls_compress.slim import recipe

    model = recipe.rebuild(models.build(arch, class_num=class_num), checkpoint.read_record(prefix))
    weights.load_into(model, io.read_state(Path(f"{prefix}.pdparams")), source=str(prefix))
    model.eval()
    return model


def calibrated(subject: Subject, options: dict, count: int | None = None):
    """The network quantized without training, on the first `count` images."""
    import paddle

    from ppcls_compress.slim import quant
    from ppcls_compress.slim.options import QuantOptions

    options, batches = QuantOptions(**options), subject.calibration(count)
    model, _ = quant.prepare(subject.network(), options, inputs=[[1, *batches[0].shape[1:]]])
    quant.calibrate(model, map(paddle.to_tensor, batches), reconstruction=options.reconstruction)
    model.eval()
    return model


def files(subject: Subject, model, folder: str) -> list[dict]:
    """Export a quantized network for each runtime, and tell what the files answer."""
    return [written(subject, model, layout, f"{folder}_{layout}") for layout in RUNTIMES]


def float_file(subject: Subject, folder: str = FLOAT) -> list[dict]:
    """The same of the float network, in one runtime."""
    return [written(subject, subject.network(), "openvino", folder)]


def written(subject: Subject, model, layout: str, folder: str) -> dict:
    """Export, and tell what the file answers in the runtime that its layout is for."""
    from ppcls_compress.deploy.onnx import runtime
    from ppcls_compress.deploy.onnx.export import export

    batches = subject.calibration(256)
    shape = batches[0].shape[1:]
    path = export(
        model, subject.work / folder, image_shape=shape, layout=layout, output="logits", calibration=batches
    ).path
    session = runtime.load(path, RUNTIMES[layout], threads=1)
    found = judged(subject.work, subject.splits, session.run)
    return found | {"runtime": RUNTIMES[layout], "bytes": path.stat().st_size}


def judged(work: Path, splits: Sequence[str], run: Callable[[np.ndarray], np.ndarray]) -> dict[str, str]:
    """Which images are answered rightly, as a text of 0 and 1 for each split."""
    found = {}
    for split in splits:
        read, labels = images(work, split)
        logits = np.concatenate([run(batch) for batch in batches_of(read)])
        found[split] = "".join("01"[right] for right in (logits.argmax(1) == labels).astype(int))
    return found


def peer(python: Path, subject: Subject, name: str) -> list[dict]:
    """The float file quantized by another package in its own environment, and what comes out there."""
    if not (subject.work / FLOAT / "model.onnx").exists():
        float_file(subject)
    script = Path(__file__).with_name("calibration_peers_worker.py")
    found, why = run_child([str(python), str(script), str(subject.work), name, *subject.splits], timeout=3600)
    if found is None:
        raise SystemExit(f"{name}: {why}")
    return [found]


def difference(found: str, other: str) -> tuple[float, float]:
    """How many more points of the same images are right, and the half width of the 95% interval."""
    apart = rights(found) - rights(other)
    return 100 * apart.mean(), 196 * apart.std(ddof=1) / np.sqrt(apart.size)


def rights(text: str) -> np.ndarray:
    """The 0 and 1 of a text as numbers."""
    return np.array([float(digit) for digit in text])


def table(cells: dict[str, dict], splits: Sequence[str], reference: str = FLOAT) -> str:
    """Top-1 of each cell and its paired difference from the reference on the last split."""
    columns = ["method", "runtime", *(f"{split} %" for split in splits), f"{splits[-1]}, against {reference}"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, cell in cells.items():
        shares = [f"{100 * rights(cell[split]).mean():.1f}" for split in splits]
        told = "{:+.1f} ± {:.1f}".format(*difference(cell[splits[-1]], cells[reference][splits[-1]]))
        lines.append(f"| {' | '.join([name, cell['runtime'], *shares, told])} |")
    return "\n".join(lines) + "\n"
