"""`analyze --model`: what quantization does to each layer of an exported model, without the code it was made of."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ppcls_compress.commands import source_free
from ppcls_compress.commands.common import load_paddle
from ppcls_compress.errors import ConfigError
from ppcls_compress.postprocess.base import OUTPUTS

if TYPE_CHECKING:
    from ppcls_compress.commands.source_free_request import Request
    from ppcls_compress.deploy.artifact import Artifact
    from ppcls_compress.deploy.imported.network import FloatNetwork
    from ppcls_compress.deploy.imported.study import Looked, Study

_CALIBRATION, _CHECK, _LOOKED_INTO = 512, 256, 64
_ONLY_HERE = ("preprocess", "list", "gives", "output_name", "calibration_images", "check_images")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `analyze` that go with `--model`; they are those of `quantize`."""
    group = parser.add_argument_group("an exported model, without its source")
    group.add_argument("--model", metavar="PATH", help="ONNX, inference.json or inference.pdmodel, or its folder")
    group.add_argument(
        "--preprocess",
        metavar="FILE",
        help="an inference.yml that tells how an image is prepared (default: its own)",
    )
    group.add_argument(
        "--list",
        metavar="FILE",
        help="look at these images, and count right answers: lines `path label`, below --images",
    )
    group.add_argument("--gives", metavar="WHAT", help=f"what it gives: {', '.join(OUTPUTS)} (default: it tells)")
    group.add_argument("--output-name", metavar="NAME", help="which of the model's outputs, where it has several")
    group.add_argument("--calibration-images", type=int, metavar="N", help="how many images (default: 512)")
    group.add_argument("--check-images", type=int, metavar="N", help="how many it is looked at with (default: 256)")


def is_asked(args: argparse.Namespace) -> bool:
    """Whether an exported model is to be analyzed.

    Raises:
        ConfigError: it is not, and an option says otherwise.
    """
    return source_free.is_meant(args, _ONLY_HERE)


def run(args: argparse.Namespace) -> None:
    """Analyze `--model`; a run that was stopped goes on where it was.

    Raises:
        UserError: an option, the model or an image cannot be used.
    """
    source_free.check_common(args, images=True)
    from ppcls_compress.deploy.extras import require
    from ppcls_compress.deploy.onnx.files import EXTRAS, LAYOUTS

    require(LAYOUTS["ort"], EXTRAS["ort"])
    load_paddle()
    from ppcls_compress import io
    from ppcls_compress.commands import source_free_request
    from ppcls_compress.deploy.imported.study import study
    from ppcls_compress.engine.logs import logging_to
    from ppcls_compress.report import noise

    with logging_to():
        made = looked_into(args)
        asked = source_free_request.read(argparse.Namespace(**{**vars(args), "act": None, "reader": None}))
        network = source_free.opened(args, asked)
        calibration, paths, labels = _images(args, asked, network)
        looked = _looked(asked, network, paths, labels)
        folder = io.make_folder(args.out or Path("output", "analysis", asked.source.path.stem))
        found = study(network, asked.options, calibration, looked, folder / "analysis.json")
        noise.write(found.rows, folder)
        if made is not None:
            _look_into(made, found, looked, paths, folder)


def looked_into(args: argparse.Namespace) -> Artifact | None:
    """The exported file that `--artifact` names; None where none is named.

    Raises:
        UserError: it is damaged, or no ONNX file.
    """
    from ppcls_compress.deploy import artifact
    from ppcls_compress.deploy.onnx.files import MODEL

    if args.artifact is None:
        return None
    found = artifact.load(args.artifact)
    if MODEL not in found.files:
        raise ConfigError(f"--artifact: {args.artifact} holds no {MODEL}; give an onnx-ort or onnx-openvino folder")
    return found


def _images(args: argparse.Namespace, asked: Request, network: FloatNetwork) -> tuple[list, list[Path], object]:
    """Batches to calibrate on, and images to look at with their labels, of which those of a list are known."""
    from ppcls_compress.deploy.imported import judge, prepare

    wanted, count = args.calibration_images or _CALIBRATION, args.check_images or _CHECK
    chosen = prepare.drawn(asked.paths, wanted + count)
    calibration = list(
        prepare.batches_of(chosen[:wanted], asked.preparation, "reading images", shape=network.image_shape)
    )
    if asked.judged is None:
        return calibration, chosen[wanted:] or chosen[:count], None
    listed = judge.listed(network, asked.judged.root, asked.judged.file)
    order = prepare.drawn(range(len(listed.paths)), count)
    return calibration, [Path(listed.paths[place]) for place in order], listed.labels[order]


def _looked(asked: Request, network: FloatNetwork, paths: Sequence[Path], labels: object) -> Looked:
    from ppcls_compress.deploy.imported import prepare
    from ppcls_compress.deploy.imported.study import Looked

    batches = list(prepare.batches_of(paths, asked.preparation, "reading images", shape=network.image_shape))
    where = asked.where if labels is None else str(asked.judged.file)
    return Looked(batches, labels, f"{len(paths)} images of {where}")


def _look_into(made: Artifact, found: Study, looked: Looked, paths: Sequence[Path], folder: Path) -> None:
    """Compare a file that `quantize --model` made with the model, and write what each layer reads in both."""
    import numpy as np

    from ppcls_compress.deploy.imported import prepare
    from ppcls_compress.deploy.onnx.files import MODEL
    from ppcls_compress.deploy.onnx.inspection import inspect
    from ppcls_compress.report import noise

    images = np.concatenate(looked.batches)[:_LOOKED_INTO]
    own = prepare.Preparation(made.description.preprocess)
    given = np.concatenate(list(prepare.batches_of(paths[:_LOOKED_INTO], own, "reading images")))
    noise.write_inspection(inspect(made.directory / MODEL, found.model, images, given), folder)
