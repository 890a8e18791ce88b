"""A model of any origin -> artifacts with integer weights, compared with the float model before they are in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ppcls_compress.deploy import compare, extras
from ppcls_compress.deploy.artifact import FIVE_BEST, Description
from ppcls_compress.deploy.export import ExportResult, put
from ppcls_compress.deploy.imported.network import FloatNetwork
from ppcls_compress.deploy.imported.prepare import Preparation
from ppcls_compress.deploy.kinds import Format
from ppcls_compress.deploy.notes import Written
from ppcls_compress.deploy.onnx import build, files, graph
from ppcls_compress.deploy.onnx.calibrated import Calibrated, calibrate
from ppcls_compress.deploy.onnx.quiet import quiet
from ppcls_compress.deploy.several import tell
from ppcls_compress.engine.logs import logger
from ppcls_compress.engine.progress import track
from ppcls_compress.errors import UserError
from ppcls_compress.postprocess.base import OUTPUTS, PostProcess
from ppcls_compress.postprocess.features import FeatureOutput
from ppcls_compress.postprocess.labels import MultiLabelThreshOutput
from ppcls_compress.slim.options import QuantOptions
from ppcls_compress.slim.record import VERSION, empty_record

LAYOUTS: Mapping[str, str] = {f"onnx-{layout}": layout for layout in files.LAYOUTS}
"""The formats that a graph is written in, and their layouts."""
FROM_FLOAT = compare.Tolerance(agreement=0.9, mean=0.1)
"""How far integers may be from the float model, which no training has taught to be rounded."""
KINDS = {"features": "features", "label_probabilities": "labels"}
_TOLD: Mapping[str, PostProcess] = {"features": FeatureOutput(), "label_probabilities": MultiLabelThreshOutput()}
"""What is told of an image where nothing says so; of classes the five best."""
_FOR_RANGES = 32  # batches, as an export of a configuration takes for ranges that no layer reads


@dataclass(frozen=True, eq=False)
class Quantized:
    """A calibrated model and what its artifacts are compared on.

    Attributes:
        network: in float.
        calibrated: its grids.
        images: that it was calibrated on, in batches.
        reference: its answers to other images in float.
        description: of the artifacts, without a format.
    """

    network: FloatNetwork
    calibrated: Calibrated
    images: list[np.ndarray]
    reference: compare.Reference
    description: Description


def quantize(
    network: FloatNetwork,
    preparation: Preparation,
    options: QuantOptions,
    images: list[np.ndarray],
    check: np.ndarray,
    where: str,
) -> Quantized:
    """Calibrate a model.

    Args:
        options: of `name: ptq`.
        images: to calibrate on, float32 [N, C, H, W] each.
        check: to compare on.
        where: what the images are, for messages.

    Raises:
        UserError: nothing in it can be quantized, or a value is not finite.
    """
    calibrated = calibrate(graph.copied(network.graph), network.folded, options, track(images, "calibrating"))
    run = network.runner()
    logits = np.concatenate([run(part) for part in np.array_split(check, max(1, len(check) // 8))])
    if not np.isfinite(logits).all():
        raise UserError(f"{network.source.path}: its answer is not finite for some images; its weights are broken")
    reference = compare.Reference(
        check, logits, KINDS.get(network.output, "classes"), source=f"{len(check)} images of {where}"
    )
    description = Description(
        image_shape=network.image_shape,
        output=network.output,
        preprocess=preparation.ops,
        class_names=preparation.class_names,
        post_process=preparation.post_process or _TOLD.get(network.output, FIVE_BEST),
        model_name=preparation.model_name or network.source.path.stem,
        params=network.params,
        network=network.source.fingerprint(),
        source=str(network.source.path),
    )
    return Quantized(network, calibrated, images, reference, description)


def export_all(
    model: Quantized, kinds: Sequence[Format], directory: Path, tolerance: compare.Tolerance = FROM_FLOAT
) -> list[ExportResult]:
    """Write an artifact of each format; one that fails keeps none of the others from being written.

    Raises:
        UserError: some could not be written, or are too far from the float model, a line for each.
    """
    results, failures = [], []
    for kind in kinds:
        try:
            results.append(_export(model, kind, directory, tolerance))
        except UserError as error:
            failures.append(str(error))
            continue
        tell(results[-1], warn_loosened=False)
    if failures:
        raise UserError("\n".join(dict.fromkeys(failures)))
    return results


def _export(model: Quantized, kind: Format, directory: Path, tolerance: compare.Tolerance) -> ExportResult:
    def write(folder: Path) -> Written:
        return model.calibrated.write(
            folder, layout=LAYOUTS[kind.name], output=model.network.output, images=model.images[:_FOR_RANGES]
        )

    count = sum(map(len, model.images))
    notes = (f"quantized without its source, calibrated on {count} images",)
    return put(
        directory / kind.folder,
        write,
        replace(model.description, format=kind.name, notes=notes),
        record={"version": VERSION, "steps": [dict(model.calibrated.step)]},
        reference=model.reference,
        tolerance=tolerance,
    )


def export_float(model: Quantized, directory: Path) -> None:
    """Write the float model as an artifact too, to be measured beside the others.

    Raises:
        UserError: the folder cannot be written.
    """

    def write(folder: Path) -> Written:
        with quiet():
            built = build.finished(build.Built(graph.copied(model.network.graph)), OUTPUTS[model.network.output])
            graph.save(built.model, folder / files.MODEL, {"output": model.network.output})
        return Written()

    put(directory, write, replace(model.description, format="onnx-ort"), record=empty_record())


def formats_here(kinds: Sequence[Format]) -> list[Format]:
    """Those of some formats whose packages are installed, a line told of each that is left out."""
    found = []
    for kind in kinds:
        if lacking := extras.missing([*kind.writes, *kind.runtimes[0].needs]):
            logger.warning("%s: left out, %s is not installed", kind.name, ", ".join(lacking))
        else:
            found.append(kind)
    return found
