"""How much faster networks are with integers than in float, in ONNX Runtime and in OpenVINO.

    python benchmarks/int8_speed.py [--networks ResNet50_vd ...] [--batches 1 8] [--threads 2] [--out FILE]

Each network is written with drawn weights, quantized after calibration on random images (speed depends on neither), in
four forms: float, the two integer layouts, and what ONNX Runtime's own `quantize_static` makes of the float file.
Within one runtime all forms are loaded in one process and take turns in every round; medians are compared. Everything
that is not in integers is computed in float32, also where the processor knows bfloat16.

A ratio is a form's time into the float form's, in the same runtime; `over fastest` is into the fastest float of both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import emit, fill, machine, run_child

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

NETWORKS = ("ResNet50_vd", "PPHGNet_small", "MobileNetV3_large_x1_0", "PPLCNet_x1_0")
RUNTIMES = ("onnxruntime", "openvino")
FORMS = ("float", "ort", "openvino", "stock")
WARM_UP = 3
TIME_LIMIT = 1800.0


def images(batch: int, size: int) -> np.ndarray:
    """Random images, float32 [batch, 3, size, size]."""
    return np.random.default_rng(0).standard_normal((batch, 3, size, size), np.float32)


def write_forms(network: str, folder: Path, size: int) -> dict[str, float]:
    """Write `folder`/FORM/model.onnx for every form; the size of each in bytes."""
    from ppcls_compress import models
    from ppcls_compress.deploy.onnx.export import export

    net = models.build(network)
    fill(net)
    _measure_batch_norms(net, size)
    settings = {"image_shape": (3, size, size), "softmax": False}
    export(net, folder / "float", layout="openvino", **settings)
    _stock(folder / "float" / "model.onnx", folder / "stock" / "model.onnx", size)
    _quantize(net, size)
    for layout in ("ort", "openvino"):
        export(net, folder / layout, layout=layout, calibration=[images(4, size)], **settings)
    return {form: (folder / form / "model.onnx").stat().st_size for form in FORMS}


def _measure_batch_norms(net, size: int) -> None:
    """Let the batch norms see some images, so that activations stay in range with drawn weights."""
    import paddle

    net.train()
    with paddle.no_grad():
        for _ in range(8):
            net(paddle.to_tensor(images(4, size)))
    net.eval()


def _quantize(net, size: int) -> None:
    import paddle

    from ppcls_compress.slim import quant
    from ppcls_compress.slim.options import QuantOptions

    quant.prepare(net, QuantOptions(name="pact"), inputs=[[1, 3, size, size]])
    quant.calibrate(net, [paddle.to_tensor(images(4, size))])
    net.eval()


def _stock(source: Path, target: Path, size: int) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.left = [{"image": images(4, size)}] * 2

        def get_next(self):
            return self.left.pop() if self.left else None

    target.parent.mkdir()
    quantize_static(str(source), str(target), Reader(), quant_format=QuantFormat.QDQ, per_channel=True)


def time_forms(folder: Path, runtime: str, batches: list[int], threads: int, rounds: int, size: int) -> dict:
    """Median milliseconds of every form, by batch."""
    from ppcls_compress.deploy.onnx import runtime as runtimes

    sessions = {form: runtimes.load(folder / form / "model.onnx", runtime, threads=threads) for form in FORMS}
    found = {}
    for batch in batches:
        data, taken = images(batch, size), {form: [] for form in FORMS}
        for turn in range(WARM_UP + rounds):
            order = FORMS[turn % len(FORMS) :] + FORMS[: turn % len(FORMS)]
            for form in order:
                start = time.perf_counter()
                sessions[form].run(data)
                taken[form].append(1000 * (time.perf_counter() - start))
        found[str(batch)] = {form: statistics.median(values[WARM_UP:]) for form, values in taken.items()}
    integer = {form: runtimes.integer_share(folder / form / "model.onnx", runtime) for form in FORMS}
    return {"ms": found, "integer": integer}


def measure(network: str, options: argparse.Namespace) -> dict:
    """Everything about one network, from fresh processes."""
    command = [sys.executable, __file__, "--size", str(options.size)]
    with tempfile.TemporaryDirectory() as folder:
        sizes, why = run_child([*command, "--write", network, folder], timeout=TIME_LIMIT)
        if sizes is None:
            raise SystemExit(f"{network}: {why}")
        result = {"network": network, "bytes": sizes, "runtimes": {}}
        for runtime in RUNTIMES:
            numbers = ["--threads", str(options.threads), "--rounds", str(options.rounds)]
            batches = ["--batches", *map(str, options.batches)]
            timed, why = run_child([*command, "--time", runtime, folder, *numbers, *batches], timeout=TIME_LIMIT)
            if timed is None:
                raise SystemExit(f"{network} in {runtime}: {why}")
            result["runtimes"][runtime] = timed
    return result


def show(result: dict, batches: list[int]) -> None:
    """Print one network's table."""
    sizes = result["bytes"]
    share = ", ".join(f"{form} {sizes[form] / sizes['float']:.1%}" for form in FORMS[1:])
    print(f"\n{result['network']}: float {sizes['float'] / 1e6:.1f} MB; of that {share}")
    print(f"{'batch':>5} {'runtime':12} {'form':9} {'ms':>8} {'ratio':>7} {'over fastest':>13}  integer kernels")
    for batch in map(str, batches):
        fastest = min(timed["ms"][batch]["float"] for timed in result["runtimes"].values())
        best = (0.0, "", "")
        for runtime, timed in result["runtimes"].items():
            times = timed["ms"][batch]
            for form in FORMS:
                ratio = times["float"] / times[form]
                if form in ("ort", "openvino"):
                    best = max(best, (ratio, form, runtime))
                counts = " ".join(f"{kind} {done}/{all_}" for kind, (done, all_) in timed["integer"][form].items())
                numbers = f"{times[form]:8.2f} {ratio:6.2f}x {fastest / times[form]:12.2f}x"
                print(f"{batch:>5} {runtime:12} {form:9} {numbers}  {counts}")
        print(f"{batch:>5} best: {best[0]:.2f}x, layout {best[1]} in {best[2]}", flush=True)


def main() -> None:
    """Measure and print; or, in a child process, write or time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--out", type=Path, help="write all numbers here as JSON")
    parser.add_argument("--write", nargs=2, metavar=("NETWORK", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--time", nargs=2, metavar=("RUNTIME", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        network, folder = options.write
        emit(write_forms(network, Path(folder), options.size))
    elif options.time:
        runtime, folder = options.time
        emit(time_forms(Path(folder), runtime, options.batches, options.threads, options.rounds, options.size))
    else:
        print(f"{machine()}, {options.threads} threads")
        results = []
        for network in options.networks:
            results.append(measure(network, options))
            show(results[-1], options.batches)
        if options.out:
            options.out.write_text(json.dumps({"machine": machine(), "results": results}, indent=1))


if __name__ == "__main__":
    main()
