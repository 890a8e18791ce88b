"""A classifier of scikit-learn, exported by skl2onnx in an environment of its own, quantized as a file alone.

    python -m venv VENV && VENV/bin/pip install scikit-learn skl2onnx
    python benchmarks/source_free_sklearn.py --python VENV/bin/python --work DIR [--out FILE.jsonl]

An MLPClassifier on scikit-learn's digits takes the 64 values of an image in a row, [N, 64]. It is quantized on training
images; what is told is top-1 on 360 others, of scikit-learn itself, of its file in float, and of those with integers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import cv2
import numpy as np
from common import append, machine

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
TRAINING = 1437
EXPORT = """
import json, sys
import numpy as np, sklearn, skl2onnx
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

folder, training = sys.argv[1], int(sys.argv[2])
digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.target))
values, labels = (digits.data / 16).astype(np.float32)[order], digits.target[order]
network = MLPClassifier((64, 32), random_state=0).fit(values[:training], labels[:training])
exported = skl2onnx.to_onnx(network, values[:1], options={id(network): {"zipmap": False}})
open(folder + "/model.onnx", "wb").write(exported.SerializeToString())
np.savez(folder + "/digits.npz", images=digits.images[order], labels=labels)
score = network.score(values[training:], labels[training:])
print(json.dumps({"top1": score, "sklearn": sklearn.__version__, "skl2onnx": skl2onnx.__version__}))
"""
PREPROCESS = """PreProcess:
  transform_ops:
  - DecodeImage: {channels: 1}
  - NormalizeImage: {scale: 1.0/255.0, mean: [0.0], std: [1.0], order: ''}
  - ToCHWImage:
"""


def main() -> None:
    """Export, quantize, evaluate, and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="of an environment with scikit-learn and skl2onnx")
    parser.add_argument("--work", type=Path, required=True, help="images and files go there")
    parser.add_argument("--out", type=Path, help="append the rows to this file")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    command = [args.python, "-W", "ignore", "-c", EXPORT, str(args.work), str(TRAINING)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    write_images(args.work)
    versions = f"scikit-learn {told['sklearn']}, skl2onnx {told['skl2onnx']}"
    for name, top1 in {"itself": told["top1"], **quantized(args.work)}.items():
        row = {"cell": f"scikit-learn MLP, {name}", "machine": machine(), "date": str(date.today())}
        row |= {"tools": versions, "images": 1797 - TRAINING, "top1": round(top1, 4)}
        sys.stdout.write(f"{row['cell']}: {100 * top1:.2f}%\n")
        if args.out:
            append(args.out, row)


def write_images(work: Path) -> None:
    """Pictures of 8 x 8, a list of those that judge, and how they are prepared."""
    digits = np.load(work / "digits.npz")
    for folder in ("calibration", "validation"):
        (work / folder).mkdir(exist_ok=True)
    lines = []
    for number, (values, label) in enumerate(zip(digits["images"], digits["labels"], strict=True)):
        folder = "calibration" if number < TRAINING else "validation"
        cv2.imwrite(str(work / folder / f"{number:04}.png"), np.round(values * 255 / 16).astype(np.uint8))
        lines += [f"{folder}/{number:04}.png {label}"] if number >= TRAINING else []
    (work / "validation.txt").write_text("\n".join(lines) + "\n")
    (work / "inference.yml").write_text(PREPROCESS)


def quantized(work: Path) -> dict[str, float]:
    """Top-1 of the float file and of each file with integers."""
    from ppcls_compress.deploy import formats
    from ppcls_compress.deploy.imported import judge, network, prepare, quantize, source
    from ppcls_compress.slim.options import QuantOptions

    preparation = prepare.from_description(work / "inference.yml")
    paths = sorted((work / "calibration").iterdir())
    images = list(prepare.batches_of(paths[:512], preparation, "reading images"))
    check = np.concatenate(list(prepare.batches_of(paths[512:768], preparation, "reading images")))
    read = network.open_network(source.find(work / "model.onnx"), images[0][:2], output_name="probabilities")
    model = quantize.quantize(read, preparation, QuantOptions(name="ptq"), images, check, "digits")
    kinds = [formats.get(name) for name in ("onnx-ort", "onnx-openvino")]
    results = quantize.export_all(model, kinds, work / "out")
    shares = judge.evaluate(model, results, preparation, judge.listed(read, work, work / "validation.txt"))
    return {name: found["top1"] for name, found in shares.items()}


if __name__ == "__main__":
    main()
