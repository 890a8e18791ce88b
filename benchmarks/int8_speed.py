"""How much faster networks are with integers than in float, in Paddle Inference, ONNX Runtime and OpenVINO.

    python benchmarks/int8_speed.py [--networks ResNet50_vd ...] [--batches 1 8] [--threads 2] [--out FILE]

Each network is written with drawn weights, quantized after calibration on random images (speed depends on neither), in
every form of the table below, and what ONNX Runtime's own `quantize_static` makes of the float file. All forms of a
network are timed in one run: each in a process of its own on the same cores, in turns.

`ratio` is the float time of the same runtime over a form's time; in OpenVINO that is the time in float32, also for the
forms in its own precision, which is bfloat16 where the processor has it. `over float32` and `over fastest` are to the
fastest float form of all runtimes, without and with OpenVINO's own precision.

With `--out FILE` every finished network and batch is kept there, and a later run goes on from it. The four networks
take about 10 minutes on two quiet cores.

    python benchmarks/int8_speed.py --against CHECKOUT [--networks ...] [--batches ...]

writes our integer forms with the code of another checkout as well, and times both revisions' files in turns.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from common import emit, machine, run_child
from exported import as_artifact, compress, images, megabytes, network, write

NETWORKS = ("ResNet50_vd", "PPHGNet_small", "MobileNetV3_large_x1_0", "PPLCNet_x1_0")
TIME_LIMIT = 1800.0


class Form(NamedTuple):
    """A row of the table: the artifact's folder, the runtime, and whether it is quantized; by us, or not."""

    folder: str
    runtime: str
    what: str
    reduced: bool = False

    @property
    def label(self) -> str:
        """Unlike that of any other form."""
        return f"{self.runtime}: {self.what}{', own precision' if self.reduced else ''}"


FORMS = (
    Form("float/paddle", "Paddle", "float"),
    Form("float/onnx-ort", "ONNX Runtime", "float"),
    Form("float/onnx-openvino", "OpenVINO", "float"),
    Form("float/onnx-openvino", "OpenVINO", "float", reduced=True),
    Form("int8/paddle", "Paddle", "int8, portable"),
    Form("int8/onednn", "Paddle", "int8, oneDNN"),
    Form("int8/onnx-ort", "ONNX Runtime", "int8, layout ort"),
    Form("int8/onnx-openvino", "OpenVINO", "int8, layout openvino"),
    Form("int8/onnx-openvino", "OpenVINO", "int8, layout openvino", reduced=True),
    Form("int8/onnx-ort", "OpenVINO", "int8, layout ort"),
    Form("stock/onnx-ort", "ONNX Runtime", "stock int8"),
    Form("stock/onnx-ort", "OpenVINO", "stock int8"),
)
NAMES = {"Paddle": "paddle", "ONNX Runtime": "onnxruntime", "OpenVINO": "openvino"}
OURS = ("int8, layout ort", "int8, layout openvino")


def write_forms(name: str, folder: Path, size: int) -> dict[str, float]:
    """Write every form's artifact below `folder`; the size of each in MB, all files counted."""
    from ppcls_compress.deploy.formats import FORMATS
    from ppcls_compress.slim.options import QuantOptions

    net = network(name, size)
    formats = [kind for kind in FORMATS if kind != "onednn"]
    write(net, folder / "float", size, formats)
    quantized, record = compress(net, size, quant=QuantOptions(name="pact"))
    write(quantized, folder / "int8", size, FORMATS, record)
    _stock(folder / "float/onnx-ort/model.onnx", folder / "stock.onnx", size)
    as_artifact(folder / "stock.onnx", folder / "stock/onnx-ort", size)
    return {form.folder: megabytes(folder / form.folder) for form in FORMS if (folder / form.folder).is_dir()}


def _stock(source: Path, target: Path, size: int) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.left = [{"image": images(4, size)}] * 2

        def get_next(self):
            return self.left.pop() if self.left else None

    quantize_static(str(source), str(target), Reader(), quant_format=QuantFormat.QDQ, per_channel=True)


def time_forms(places: dict[str, Path], forms: list[Form], batch: int, options: argparse.Namespace) -> dict[str, float]:
    """Median milliseconds by what a folder of forms is called, and the form's label."""
    from ppcls_compress.deploy.measure import latency

    candidates = {
        called + form.label: latency.Candidate(folder / form.folder, form.reduced, NAMES[form.runtime])
        for called, folder in places.items()
        for form in forms
    }
    shape = [batch, 3, options.size, options.size]
    found = latency.measure(candidates, shape, threads=options.threads, rounds=options.rounds)
    return {label: timed.median_ms for label, timed in found.items()}


def integer_kernels(folder: Path, present: list[Form]) -> dict[str, dict[str, tuple[int, int]]]:
    """(kernels that compute with integers, all of them) by kind of layer, by label, where a runtime tells."""
    from ppcls_compress.deploy.onnx import runtime

    chosen = [form for form in present if form.runtime != "Paddle" and "int8" in form.what]
    return {
        form.label: runtime.integer_share(folder / form.folder / "model.onnx", NAMES[form.runtime]) for form in chosen
    }


def measure(name: str, kept: dict, options: argparse.Namespace, save: Callable[[], None]) -> None:
    """Add to `kept` what it lacks about one network; save after each batch size."""
    missing = [batch for batch in options.batches if str(batch) not in kept.get("ms", {})]
    if not missing:
        return
    with tempfile.TemporaryDirectory() as place:
        sizes = _written(Path(__file__), name, place, options.size)
        present = [form for form in FORMS if form.folder in sizes]
        kept["mb"] = sizes
        kept["integer"] = integer_kernels(Path(place), present)
        for batch in missing:
            kept.setdefault("ms", {})[str(batch)] = time_forms({"": Path(place)}, present, batch, options)
            save()


def _written(script: Path, name: str, place: str, size: int) -> dict[str, float]:
    """What `write_forms` of a checkout's own `script` gives."""
    command = [sys.executable, str(script), "--size", str(size), "--write", name, place]
    sizes, why = run_child(command, timeout=TIME_LIMIT, env={"PYTHONPATH": str(script.parent.parent)})
    if sizes is None:
        raise SystemExit(f"{name}: {why}")
    return sizes


def compare(name: str, checkout: Path, options: argparse.Namespace) -> None:
    """Print, for each integer form, this checkout's time and size beside another one's."""
    scripts = {"": Path(__file__), "there: ": checkout.resolve() / "benchmarks" / Path(__file__).name}
    with tempfile.TemporaryDirectory() as place:
        places = {called: Path(place, str(index)) for index, called in enumerate(scripts)}
        sizes = {
            called: _written(script, name, str(places[called]), options.size) for called, script in scripts.items()
        }
        forms = [
            form for form in FORMS if form.what.startswith("int8") and all(form.folder in mb for mb in sizes.values())
        ]
        heads = ("ms", "ms there", "there/here", "MB", "MB there")
        print(f"\n{name}\n{'batch':>5} {'form':48} " + " ".join(f"{head:>12}" for head in heads))
        for batch in options.batches:
            times = time_forms(places, forms, batch, options)
            for form in forms:
                here, there = (times[called + form.label] for called in scripts)
                disk = " ".join(f"{mb[form.folder]:12.2f}" for mb in sizes.values())
                print(f"{batch:>5} {form.label:48} {here:12.2f} {there:12.2f} {there / here:11.2f}x {disk}", flush=True)


def show(name: str, kept: dict, batches: list[int]) -> None:
    """Print one network's table."""
    sizes = kept["mb"]
    print(f"\n{name}")
    head = ("batch", "form", "ms", "ratio", "over float32", "over fastest", "MB", "of float")
    print(f"{head[0]:>5} {head[1]:48} " + " ".join(f"{text:>12}" for text in head[2:]) + "  integer kernels")
    for batch in batches:
        times = kept["ms"][str(batch)]
        floats = {form: times[form.label] for form in FORMS if form.what == "float" and form.label in times}
        own = {form.runtime: value for form, value in floats.items() if not form.reduced}
        bests = {}
        for form in (form for form in FORMS if form.label in times):
            taken, disk = times[form.label], sizes[form.folder]
            base = sizes["float/paddle" if form.runtime == "Paddle" else "float/onnx-ort"]
            ratios = [own[form.runtime] / taken, min(own.values()) / taken, min(floats.values()) / taken]
            numbers = [
                f"{taken:12.2f}",
                *(f"{ratio:11.2f}x" for ratio in ratios),
                f"{disk:12.2f}",
                f"{disk / base:12.1%}",
            ]
            kernels = " ".join(f"{kind} {a}/{b}" for kind, (a, b) in kept["integer"].get(form.label, {}).items())
            print(f"{batch:>5} {form.label:48} {' '.join(numbers)}  {kernels}")
            if form.what in OURS and not form.reduced:
                bests[ratios[0]] = form.label
        print(f"{batch:>5} best: {max(bests):.2f}x the same runtime's float32, {bests[max(bests)]}", flush=True)


def main() -> None:
    """Measure and print; or, in a child process, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--out", type=Path, help="keep all numbers here as JSON, and go on from it")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="time another revision's files in turns")
    parser.add_argument("--write", nargs=2, metavar=("NETWORK", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        emit(write_forms(options.write[0], Path(options.write[1]), options.size))
        return
    print(f"{machine()}, {options.threads} threads")
    if options.against:
        for name in options.networks:
            compare(name, options.against, options)
        return
    kept = {"machine": machine(), "threads": options.threads, "networks": {}}
    if options.out and options.out.exists():
        kept = json.loads(options.out.read_text())

    def save() -> None:
        if options.out:
            options.out.write_text(json.dumps(kept, indent=1))

    for name in options.networks:
        measure(name, kept["networks"].setdefault(name, {}), options, save)
        show(name, kept["networks"][name], options.batches)


if __name__ == "__main__":
    main()
