"""Exports as the tests need them: a description from a few words, the model's own answers on plain arrays."""

from ppcls_compress.deploy import artifact, verify
from ppcls_compress.deploy.export import export as export_described


def export(
    model,
    folder,
    *,
    image_shape,
    output="probabilities",
    record=None,
    images=None,
    labels=None,
    calibration=None,
    tolerance=None,
    **about,
):
    kind = "labels" if output == "label_probabilities" else "classes"
    return export_described(
        model,
        folder,
        description=artifact.Description(tuple(image_shape), output, **about),
        record=record,
        calibration=calibration,
        reference=None if images is None else verify.reference(model, images, labels, kind=kind),
        tolerance=tolerance,
    )
