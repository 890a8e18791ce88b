"""How long calibrating an exported model takes, beside its float inference of the same images.

    python benchmarks/source_free_time.py --model FILE --images FOLDER [--preprocess inference.yml] [--count 512]

Told are seconds of the processor, so that what else a machine does counts little: to read and prepare the images, which
either does, to infer them in float by ONNX Runtime, and to calibrate on them; the medians of three turns.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from common import processor_seconds

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
TURNS = 3


def main() -> None:
    """Measure, and print a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--images", required=True)
    parser.add_argument("--preprocess", help="default: the inference.yml beside the model")
    parser.add_argument("--count", type=int, default=512, help="images (default: 512)")
    args = parser.parse_args()
    from ppcls_compress.data import list_images
    from ppcls_compress.deploy.imported import network, prepare, source
    from ppcls_compress.deploy.onnx import graph
    from ppcls_compress.deploy.onnx.calibrated import fit
    from ppcls_compress.slim.options import QuantOptions

    found = source.find(args.model)
    preparation = prepare.from_description(args.preprocess or found.preprocess)
    paths, batches = prepare.drawn(list_images(args.images), args.count), []
    reading = processor_seconds(lambda: batches.extend(prepare.batches_of(paths, preparation, "reading images")))
    read = network.open_network(found, batches[0][:2])
    run, options = read.runner(), QuantOptions(name="ptq")
    turns = [
        (
            processor_seconds(lambda: [run(batch) for batch in batches]),
            processor_seconds(lambda: fit(graph.copied(read.graph), read.folded, options, batches)),
        )
        for _ in range(TURNS)
    ]
    inference, calibration = np.median(turns, axis=0)
    alone, whole = calibration / inference, (reading + calibration) / (reading + inference)
    sys.stdout.write(
        f"{len(paths)} images: reading {reading:.1f} s, float inference {inference:.1f} s, calibration "
        f"{calibration:.1f} s: {alone:.1f} times as long, {whole:.2f} times with reading\n"
    )


if __name__ == "__main__":
    main()
