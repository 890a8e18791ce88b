"""What ONNX Runtime and OpenVINO answer after ordinary and after deploy-aware QAT, on trained CIFAR-10 weights.

    export CIFAR10_DIR=...    # made by python -m ppcls_compress.data.cifar10 --out ...
    OMP_NUM_THREADS=1 python benchmarks/deploy_aware_cifar10.py --work DIR

`CIFARMobileNetV3` (residuals, depthwise, gates, hard-swish) is trained in float, then quantized twice from there:
`placement: layers` and `placement: deploy`. Both are exported for both runtimes. Printed are, on the validation images,
the top-1 of the fake-quantized model and of each file, how often they agree, and their logits' difference; then the CPU
time of the integer graphs and of ONNX Runtime's own `quantize_static` of the float network, in turns in one process.

Finished steps stay in DIR, a killed training goes on from its last epoch. Needs the extras `onnx` and `openvino`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from calibrations import load
from common import every_nth, machine, trained

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "cifar10" / "resnet20.yaml"
ARCH, SHAPE = "CIFARMobileNetV3", (3, 32, 32)
RUNTIMES = {"ort": "onnxruntime", "openvino": "openvino"}
CALIBRATION_IMAGES, STOCK = 256, "stock"


def train(name: str, options: argparse.Namespace, slim: str | None) -> Path:
    """Train one network with the command of this toolkit; returns the prefix of its last weights."""
    settings = {
        "Global.epochs": options.epochs if slim else options.float_epochs,
        "Global.print_batch_step": 50,
        "Global.eval_during_train": False,
        "Optimizer.lr.learning_rate": 0.01 if slim else 0.1,
        "Optimizer.lr.warmup_epoch": 0 if slim else 0.25,
        "DataLoader.Train.sampler.batch_size": 64,
    }
    if slim:
        images = options.work / f"train_{options.images}.txt"
        images.write_text(every_nth(Path(os.environ["CIFAR10_DIR"], "train_list.txt"), options.images))
        settings["DataLoader.Train.dataset.cls_label_path"] = images
        settings["Slim"] = slim
        settings["Global.pretrained_model"] = options.start or options.work / "float" / ARCH / "latest"
    return trained(CONFIG, options.work / name, ARCH, settings)


def split(mode: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first images and labels of a split, without random transforms."""
    from ppcls_compress import data
    from ppcls_compress.config.load import load_config

    overrides = [f"DataLoader.Eval.dataset.cls_label_path={os.environ['CIFAR10_DIR']}/{mode}_list.txt"]
    config = load_config(CONFIG, [f"Arch.name={ARCH}", *overrides])
    images, labels = [], []
    for batch, answer in data.build_loader(config.DataLoader.Eval, class_num=10, seed=0, training=False):
        images.append(batch.numpy())
        labels.append(answer.numpy())
        if sum(map(len, labels)) >= count:
            break
    return np.concatenate(images)[:count], np.concatenate(labels)[:count]


def eager(model, images: np.ndarray) -> np.ndarray:
    """Logits of a Paddle model."""
    import paddle

    with paddle.no_grad():
        return np.concatenate(
            [model(paddle.to_tensor(images[i : i + 250])).numpy() for i in range(0, len(images), 250)]
        )


def compare(name: str, model, folder: Path, data: tuple[np.ndarray, np.ndarray], calibration) -> list[dict]:
    """Export a quantized model for both runtimes; one row per file."""
    from ppcls_compress.deploy.onnx import export, runtime

    images, labels = data
    trained = eager(model, images)
    rows = []
    for layout, engine in RUNTIMES.items():
        path = export.export(
            model, folder / name / layout, image_shape=SHAPE, layout=layout, output="logits", calibration=calibration
        ).path
        session = runtime.load(path, engine, threads=1)
        found = np.concatenate([session.run(images[i : i + 250]) for i in range(0, len(images), 250)])
        rows.append(
            {
                "placement": name,
                "file": layout,
                "eager top-1": float((trained.argmax(1) == labels).mean()),
                "file top-1": float((found.argmax(1) == labels).mean()),
                "agreement": float((trained.argmax(1) == found.argmax(1)).mean()),
                "mean": float(np.abs(found - trained).mean()),
                "largest": float(np.abs(found - trained).max()),
                "kernels": runtime.integer_share(path, engine),
            }
        )
    return rows


def write_stock(model, folder: Path, calibration: list[np.ndarray]) -> Path:
    """ONNX Runtime's own integer graph of the float network."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    from ppcls_compress.deploy.onnx import export

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.left = [{"image": batch} for batch in calibration]

        def get_next(self):
            return self.left.pop() if self.left else None

    source = export.export(model, folder / "float", image_shape=SHAPE, layout="ort", output="logits").path
    target = folder / STOCK / "model.onnx"
    target.parent.mkdir(parents=True, exist_ok=True)
    quantize_static(str(source), str(target), Reader(), quant_format=QuantFormat.QDQ, per_channel=True)
    return target


def cpu_times(paths: dict[str, Path], batch: int, rounds: int) -> dict[str, float]:
    """Median CPU milliseconds of each file in ONNX Runtime, one thread, in turns."""
    from ppcls_compress.deploy.onnx import runtime

    sessions = {name: runtime.load(path, "onnxruntime", threads=1) for name, path in paths.items()}
    image = np.random.default_rng(0).standard_normal((batch, *SHAPE), np.float32)
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for index in range(rounds + 5):
        for name, session in sessions.items():
            begun = time.process_time()
            session.run(image)
            if index >= 5:
                times[name].append(1000 * (time.process_time() - begun))
    return {name: float(np.median(values)) for name, values in times.items()}


def measure(prefixes: dict[str, Path], start: Path, options: argparse.Namespace) -> dict:
    """All numbers of the report."""
    calibration = list(split("train", CALIBRATION_IMAGES)[0].reshape(-1, 64, *SHAPE))
    data, folder, rows = split("val", options.check), options.work / "export", []
    for name, prefix in prefixes.items():
        rows += compare(name, load(ARCH, 10, prefix), folder, data, None if name == "deploy" else calibration)
    plain = load(ARCH, 10, start)
    paths = {"float": folder / "float" / "model.onnx", STOCK: write_stock(plain, folder, calibration)}
    paths |= {name: folder / name / "ort" / "model.onnx" for name in prefixes}
    return {
        "machine": machine(),
        "images": options.check,
        "float top-1": float((eager(plain, data[0]).argmax(1) == data[1]).mean()),
        "rows": rows,
        "ms": {str(batch): cpu_times(paths, batch, options.rounds) for batch in options.batches},
    }


def show(found: dict) -> None:
    """Print the report."""
    print(f"{found['machine']}; float top-1 {found['float top-1']:.4f} on {found['images']} images")
    print("placement  file      eager top-1  file top-1  agreement  mean diff  largest  integer kernels")
    for row in found["rows"]:
        kernels = " ".join(f"{kind} {whole}/{count}" for kind, (whole, count) in row["kernels"].items())
        print(
            f"{row['placement']:10} {row['file']:9} {row['eager top-1']:11.4f} {row['file top-1']:11.4f} "
            f"{row['agreement']:10.4f} {row['mean']:10.2e} {row['largest']:8.2e}  {kernels}"
        )
    for batch, times in found["ms"].items():
        shown = ", ".join(f"{name} {value:.2f} ({value / times[STOCK]:.3f}x stock)" for name, value in times.items())
        print(f"CPU ms in ONNX Runtime, one thread, batch {batch}: {shown}")


def main() -> None:
    """Train what is not trained yet, then measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--start", type=Path, help="prefix of float weights, in place of training them")
    parser.add_argument("--float-epochs", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=1, help="of each quantization-aware training")
    parser.add_argument("--images", type=int, default=50000, help="of the training images, for each of them")
    parser.add_argument("--quantizer", default="pact", choices=["pact", "lsq", "qat"])
    parser.add_argument("--check", type=int, default=5000, help="validation images")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if "CIFAR10_DIR" not in os.environ:
        sys.exit("CIFAR10_DIR is not set; make the images with python -m ppcls_compress.data.cifar10 --out DIR")
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    start = options.start or train("float", options, None)
    ordinary = f"{{quant: {{name: {options.quantizer}}}}}"
    deploy = f"{{quant: {{name: {options.quantizer}, placement: deploy}}}}"
    prefixes = {"deploy": train("deploy", options, deploy), "layers": train("layers", options, ordinary)}
    found = measure(prefixes, start, options)
    (options.work / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    show(found)


if __name__ == "__main__":
    main()
