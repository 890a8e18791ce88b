"""What the benchmarks of exported networks share: networks with drawn weights, written as artifacts of any format."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from common import fill

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

BATCHES = 8


def images(batch: int, size: int) -> np.ndarray:
    """Random images, float32 [batch, 3, size, size]."""
    return np.random.default_rng(0).standard_normal((batch, 3, size, size), np.float32)


def network(name: str, size: int):
    """A backbone with drawn weights, its batch norms measured, so that activations stay in range."""
    import paddle

    from ppcls_compress import models
    from ppcls_compress.slim import prune

    net = models.build(name)
    fill(net)
    prune.recalibrate(net, [paddle.to_tensor(images(4, size))] * BATCHES)
    net.eval()
    return net


def compress(net, size: int, **steps):
    """`(model, record)`; `steps` are the fields of `SlimOptions`."""
    import paddle

    from ppcls_compress.slim import recipe
    from ppcls_compress.slim.options import SlimOptions

    batches = [paddle.to_tensor(images(4, size))] * 2
    context = recipe.Context(lambda: batches, latency=None)
    model, record = recipe.compress(net, SlimOptions(**steps), [[1, 3, size, size]], context=context)
    model.eval()
    return model, record


def write(model, folder: Path, size: int, formats: Sequence[str], record=None) -> None:
    """Write `folder`/FORMAT for each format, with logits as output."""
    from ppcls_compress.deploy import artifact
    from ppcls_compress.deploy.export import export

    for kind in formats:
        description = artifact.Description((3, size, size), output="logits", format=kind)
        settings = {"record": record, "calibration": [images(4, size)] * 2}
        export(model, folder / kind, description=description, **settings)


def as_artifact(file: Path, folder: Path, size: int) -> None:
    """Put an ONNX file into a folder of its own, described as `onnx-ort`, which runs in both ONNX runtimes."""
    from ppcls_compress.deploy import artifact

    folder.mkdir(parents=True)
    shutil.copy(file, folder / "model.onnx")
    artifact.write_description(folder, artifact.Description((3, size, size), output="logits", format="onnx-ort"))


def megabytes(folder: Path) -> float:
    """Size of an artifact, all files counted."""
    from ppcls_compress.deploy import artifact

    return artifact.load(folder).bytes / 1e6
