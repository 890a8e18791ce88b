"""How long calibration with the source takes, beside float inference of the same images.

    OMP_NUM_THREADS=1 python benchmarks/calibration_time.py [--images 256] [--batch 32]

Random weights and images, which take as long as any; seconds of the processor, so that what else a machine does counts
little; the medians of three turns. `source_free_time.py` has the same of models that are only a file.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import processor_seconds

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
TURNS = 3
NETWORKS = {
    "CIFARResNet20": 32,
    "CIFARMobileNetV3": 32,
    "PPLCNet_x1_0": 224,
    "MobileNetV3_small_x1_0": 224,
    "ResNet50_vd": 224,
}
"""And the sides of their images."""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--only", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    args = parser.parse_args()
    import paddle

    from ppcls_compress import models

    rng = np.random.default_rng(0)
    sys.stdout.write("| network | float inference s | calibration s | times as long |\n|---|---|---|---|\n")
    for name in args.only:
        net, shape = models.build(name, class_num=10), (args.batch, 3, NETWORKS[name], NETWORKS[name])
        net.eval()
        count = -(-args.images // args.batch)
        batches = [paddle.to_tensor(rng.standard_normal(shape).astype("float32")) for _ in range(count)]
        turns = [turn(net, batches) for _ in range(TURNS)]
        floats, calibration = np.median(turns, axis=0)
        sys.stdout.write(f"| {name} | {floats:.2f} | {calibration:.2f} | {calibration / floats:.2f} |\n")
        sys.stdout.flush()


def turn(net: Any, batches: Sequence[Any]) -> tuple[float, float]:
    """Seconds of float inference and of calibration."""
    import paddle

    from ppcls_compress.slim import quant
    from ppcls_compress.slim.options import QuantOptions

    def inference() -> None:
        with paddle.no_grad():
            for batch in batches:
                net(batch)

    prepared, _ = quant.prepare(copy.deepcopy(net), QuantOptions(name="ptq"))
    inference()
    return processor_seconds(inference), processor_seconds(lambda: quant.calibrate(prepared, batches))


if __name__ == "__main__":
    main()
