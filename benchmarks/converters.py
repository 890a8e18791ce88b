"""The converters to ONNX on every network of the catalogue: exactness, equal files, operators, time, size.

Each network is saved once, with drawn weights and epsilons that are no one's default, and converted twenty times in
fresh processes, by paddle2onnx and by p2o, each as it comes (`stock`) and as this package uses it (`here`). All twenty
files must be equal, ONNX Runtime must answer as Paddle does, and epsilons must be the layers'. What `here` does with
paddle2onnx is measured on every network, the rest on those of up to 60 MB, and on the smallest of each family. One
network is not of the catalogue: `doubles` has what Paddle 3.3 holds as doubles, which paddle2onnx reads uninitialised.

    nice -n 10 python benchmarks/converters.py                 # resumable; results/converters.jsonl
    nice -n 10 python benchmarks/converters.py --only 'ResNet*_vd' --again
    python benchmarks/converters.py --table
"""

from __future__ import annotations

import argparse
import datetime
import fnmatch
import importlib.metadata
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from common import draw, emit, machine, run_child

from ppcls_compress import io
from ppcls_compress.errors import UserError, one_line
from ppcls_compress.models import catalog

RESULTS = Path(__file__).parent / "results" / "converters.jsonl"
DOUBLES = "doubles"
CONVERTERS = ("paddle2onnx", "p2o")
FORMS = ("stock", "here")
EVERYWHERE = ("paddle2onnx", "here")
SMALL = 60e6  # bytes of parameters
CHUNK = 12  # networks on the disk at once
BATCH = 2
RIGHT = 1e-3  # of the largest logit; rounding gives 1e-6 to 1e-5
SIZES = (64, 224)  # of images, the first that a network takes
# With small images these would pool to a size larger than the image, which nobody does.
WHOLE_IMAGES = ("alexnet", "AlexNet", "vgg*", "VGG*", "googlenet", "GoogLeNet", "inception*", "Inception*")


def main() -> None:
    """Measure what is not measured yet, then print the table."""
    args = _arguments()
    if args.child:
        _CHILDREN[args.child](*args.values)
        return
    if not args.table:
        os.environ.update(OMP_NUM_THREADS="1", GLOG_minloglevel="3")
        wanted = [
            name for name in (DOUBLES, *catalog.names()) if any(fnmatch.fnmatch(name, only) for only in args.only)
        ]
        done = set() if args.again else {row["network"] for row in rows(args.results)}
        todo = [name for name in wanted if name not in done]
        for start in range(0, len(todo), CHUNK):
            _measure(todo[start : start + CHUNK], args)
    for line in table(list(rows(args.results))):
        sys.stdout.write(line + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["*"], help="patterns of names")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--converters", nargs="+", choices=CONVERTERS, default=CONVERTERS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--again", action="store_true", help="measure what is there already once more")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    parser.add_argument("--child", choices=_CHILDREN, help=argparse.SUPPRESS)
    parser.add_argument("values", nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args()


def rows(path: Path) -> Iterator[dict]:
    """The results that are there, the last of each cell."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    cells = {(row["network"], row["converter"], row["form"]): row for row in map(json.loads, lines)}
    yield from cells.values()


# --- one chunk of networks -------------------------------------------------------------------------------------------


def _measure(names: Sequence[str], args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="converters_") as folder:
        _child("save", folder, *names)
        facts = {name: io.read_json(Path(folder, name, "facts.json")) for name in names}
        saved = {name: item for name, item in facts.items() if "problem" not in item}
        for name in facts.keys() - saved.keys():
            sys.stderr.write(f"{name}: {facts[name]['problem']}\n")
        for converter in args.converters:
            cells = [f"{name}:{form}" for name in saved for form in FORMS if _wanted(saved[name], converter, form)]
            runs = [[f"{cell}:{run}" for cell in cells] for run in range(args.runs)]
            if converter == "p2o":  # which is a process of its own
                runs = [[cell for run in runs for cell in run]]
            for run in runs:
                _convert_all(Path(folder), converter, run)
        found, _ = _child("check", folder, *saved)
        about = {"machine": machine(), "date": datetime.date.today().isoformat(), "versions": _versions()}
        with args.results.open("a", encoding="utf-8") as file:
            for row in _rows(Path(folder), saved, found):
                file.write(json.dumps({**row, **about}) + "\n")
                sys.stderr.write(f"{row['network']} {row['converter']} {row['form']}: {_verdict(row) or 'right'}\n")


def _wanted(facts: Mapping[str, object], converter: str, form: str) -> bool:
    return (converter, form) == EVERYWHERE or facts["bytes"] <= SMALL or facts["smallest"]


def _versions() -> dict[str, str]:
    packages = ("paddlepaddle", "onnx", "onnxruntime", *CONVERTERS)
    there = {item.metadata["Name"].lower() for item in importlib.metadata.distributions()}
    return {name: importlib.metadata.version(name) for name in packages if name in there}


def _child(task: str, *values: str | Path) -> tuple[dict | None, str]:
    command = [sys.executable, "-W", "ignore", __file__, "--child", task, *map(str, values)]
    return run_child(command, timeout=3600)


def _convert_all(folder: Path, converter: str, cells: Sequence[str]) -> None:
    """Convert all of them in one fresh process, and again one after what ended it."""
    log, left = folder / f"{converter}.jsonl", list(cells)
    while left:
        command = [sys.executable, "-W", "ignore", __file__, "--child", "convert", str(folder), converter, str(log)]
        done = subprocess.run([*command, *left], capture_output=True, text=True, check=False)
        told = {item["cell"] for item in _log(log)}
        left = [cell for cell in left if cell not in told]
        if left:  # the process died at the first of them
            said = [line for line in (done.stdout + done.stderr).splitlines() if "unsupport" in line.lower()]
            reason = one_line(said[-1] if said else f"ended with {done.returncode}", 150)
            _note(log, {"cell": left.pop(0), "problem": reason})


def _log(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _note(path: Path, entry: Mapping[str, object]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(entry) + "\n")


def _rows(folder: Path, saved: Mapping[str, dict], checked: Mapping[str, dict]) -> Iterator[dict]:
    entries = defaultdict(list)
    for log in sorted(folder.glob("*.jsonl")):
        for entry in _log(log):
            name, form, _ = entry["cell"].split(":")
            entries[name, log.stem, form].append(entry)
    for (name, converter, form), runs in entries.items():
        failed = [run["problem"] for run in runs if "problem" in run]
        files = [checked[f"{name}/{run['file']}"] for run in runs if "file" in run]
        differences = [file["difference"] for file in files if file["difference"] is not None]
        yield {
            "network": name,
            "converter": converter,
            "form": form,
            "native": saved[name]["native"],
            "image": saved[name]["image"],
            "parameter_bytes": saved[name]["bytes"],
            "runs": len(runs),
            "failed": len(failed),
            "reason": failed[0] if failed else next((file["problem"] for file in files if file["problem"]), ""),
            "files": len({run["file"] for run in runs if "file" in run}),
            "norms": saved[name]["norms"],
            "wrong_epsilons": max((file["wrong_epsilons"] for file in files), default=0),
            "difference": max(differences, default=None),
            "seconds": round(statistics.median([run["seconds"] for run in runs if "seconds" in run] or [0]), 3),
            "file_bytes": files[0]["bytes"] if files else None,
        }


# --- the processes ---------------------------------------------------------------------------------------------------


def _save(folder: str, *names: str) -> None:
    for name in names:
        place = Path(folder, name)
        place.mkdir()
        try:
            facts = _save_one(name, place)
        except Exception as error:  # one network that does not work leaves the others alone
            facts = {"problem": one_line(error, 200)}
        io.write_json(place / "facts.json", facts)
    emit({})


def _save_one(name: str, place: Path) -> dict[str, object]:
    import paddle

    from ppcls_compress import models
    from ppcls_compress.deploy.network import Deployed
    from ppcls_compress.slim.graph import inference_mode
    from ppcls_compress.slim.tracing import save_program

    model = Deployed(_doubles() if name == DOUBLES else models.build(name), softmax=False)
    norms = _draw_all(model)
    whole = any(fnmatch.fnmatch(name, pattern) for pattern in WHOLE_IMAGES)
    with inference_mode(model):
        for channels, size in ((1, 28), (3, 224)) if whole else ((1, 28), *((3, size) for size in SIZES)):
            images = np.random.default_rng(0).standard_normal((BATCH, channels, size, size), np.float32)
            try:
                logits = model(paddle.to_tensor(images)).numpy()
                break
            except (ValueError, RuntimeError) as error:
                reason = error
        else:
            raise reason
        shape = [None, *images.shape[1:]]
        save_program(model, str(place / "model"), [paddle.static.InputSpec(shape, "float32", "image")])
    np.savez(place / "answers.npz", images=images, logits=logits)
    module = DOUBLES if name == DOUBLES else catalog.get(name).module
    return {
        "bytes": (place / "model.pdiparams").stat().st_size,
        "native": module not in ("vision", DOUBLES),
        "smallest": name in (DOUBLES, _smallest(module)),
        "image": images.shape[1:],
        "norms": norms,
    }


def _doubles():
    from paddle import nn

    head = (nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(8, 10))
    body = (nn.GroupNorm(2, 8), nn.LeakyReLU(0.3), nn.Pad2D(1, value=0.5), nn.Conv2D(8, 8, 3), nn.GroupNorm(4, 8))
    return nn.Sequential(nn.Conv2D(3, 8, 3), *body, nn.LeakyReLU(0.2), *head)


def _smallest(module: str) -> str:
    """The network of a family whose name is the first by its numbers, 18 before 101."""
    import re

    names = [name for name in catalog.names() if catalog.get(name).module == module] or [""]
    return min(names, key=lambda name: ([float(x) for x in re.findall(r"\d+(?:\.\d+)?", name.replace("_", "."))], name))


def _draw_all(model) -> int:
    """Weights as the other benchmarks draw them; epsilons between 1e-5 and 1e-3, the most that Paddle takes."""
    for key, tensor in model.state_dict().items():
        tensor.set_value(draw(key, tensor.shape))
    norms = [layer for layer in model.sublayers() if hasattr(layer, "_epsilon")]
    for layer, power in zip(norms, np.random.default_rng(1).uniform(-5, -3, len(norms)), strict=True):
        layer._epsilon = float(10**power)
    return len(norms)


def _convert(folder: str, converter: str, log: str, *cells: str) -> None:
    from ppcls_compress.deploy.onnx import convert  # noqa: F401  # before the clock runs

    if converter == "paddle2onnx":
        import paddle2onnx  # noqa: F401
    for cell in cells:
        name, form, _ = cell.split(":")
        place = Path(folder, name)
        target = place / f"{converter}.{form}.onnx"
        started = time.perf_counter()
        try:
            _convert_one(converter, form, place, target)
            seconds = time.perf_counter() - started
            kept = f"{converter}.{form}.{io.sha256(target)[:16]}.onnx"
            shutil.move(target, place / kept)
            entry = {"file": kept, "seconds": seconds}
        except (UserError, RuntimeError, OSError) as error:
            entry = {"problem": one_line(error, 150)}
        _note(Path(log), {"cell": cell, **entry})


def _convert_one(name: str, form: str, place: Path, target: Path) -> None:
    from ppcls_compress.deploy import extras
    from ppcls_compress.deploy.onnx import convert
    from ppcls_compress.deploy.onnx.convert.program import Program
    from ppcls_compress.deploy.onnx.graph import OPSET

    source, parameters = place / "model.json", place / "model.pdiparams"
    converter = next(item for item in convert.CONVERTERS if item.name == name)
    program = Program.read(source)
    if form == "here":
        prepared, source = program.copy(), place / f"{name}.json"
        converter.prepare(prepared)
        prepared.write(source)
    if name == "paddle2onnx":  # in this process, which is fresh
        import paddle2onnx

        paddle2onnx.export(str(source), str(parameters), str(target), opset_version=OPSET, optimize_tool=None)
    elif form == "here":
        converter.run(source, parameters, target, prepared)
    else:
        command = [extras.program("p2o"), source, parameters, target, "--opset", str(OPSET)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(done.stderr.splitlines()[0])
    if form == "here":
        convert.finish(target, program)


def _check(folder: str, *names: str) -> None:
    found = {}
    for name in names:
        answers = np.load(Path(folder, name, "answers.npz"))
        for path in sorted(Path(folder, name).glob("*.*.*.onnx")):
            found[f"{name}/{path.name}"] = _check_one(path, answers["images"], answers["logits"])
    emit(found)


def _check_one(path: Path, images: np.ndarray, logits: np.ndarray) -> dict[str, object]:
    import onnx

    from ppcls_compress.deploy.onnx import runtime
    from ppcls_compress.deploy.onnx.convert import epsilons
    from ppcls_compress.deploy.onnx.convert.program import Program

    difference, problem, wrong = None, "", 0
    try:
        wrong = epsilons.take_from(Program.read(path.parent / "model.json"), onnx.load(str(path)))
        found = runtime.load(path, "onnxruntime", threads=1).run(images)
        difference = float(np.abs(found - logits).max() / np.abs(logits).max())
    except Exception as error:  # of the runtime's own kinds, which have no common one
        problem = one_line(error, 150)
    return {"difference": difference, "problem": problem, "wrong_epsilons": wrong, "bytes": path.stat().st_size}


_CHILDREN = {"save": _save, "convert": _convert, "check": _check}


# --- the table -------------------------------------------------------------------------------------------------------


def _verdict(row: Mapping[str, object]) -> str:
    """What is wrong with a cell; nothing if all is right."""
    problems = []
    if row["failed"]:
        problems.append(f"{row['failed']} of {row['runs']} failed")
    if row["reason"]:
        problems.append(row["reason"])
    if row["difference"] is not None and not row["difference"] <= RIGHT:
        problems.append(f"wrong by {row['difference']:.2g} of the largest logit")
    if row["wrong_epsilons"]:
        problems.append(f"{row['wrong_epsilons']} of {row['norms']} epsilons wrong")
    if row["files"] > 1:
        problems.append(f"{row['files']} different files in {row['runs']}")
    return ", ".join(problems)


def table(found: Sequence[Mapping[str, object]]) -> Iterator[str]:
    """Totals by converter and form, then each cell that is not right."""
    heads = ("converter", "networks", "exports", "failed", "other answers", "wrong epsilons", "files differ", "worst")
    yield f"| {' | '.join(heads)} | seconds |"
    yield "|---" * (len(heads) + 1) + "|"
    for converter in CONVERTERS:
        for form in FORMS:
            for kind, native in (("all", None), ("native", True)):
                cells = [
                    row
                    for row in found
                    if (row["converter"], row["form"]) == (converter, form) and native in (None, row["native"])
                ]
                if cells:
                    yield f"| {converter}, {form}, {kind} | {' | '.join(map(str, _totals(cells)))} |"
    yield ""
    for row in sorted(found, key=lambda row: (row["converter"], row["form"], row["network"])):
        if verdict := _verdict(row):
            yield f"{row['converter']}, {row['form']}: {row['network']}: {verdict}"


def _totals(cells: Sequence[Mapping[str, object]]) -> list[object]:
    differences = [row["difference"] for row in cells if row["difference"] is not None]
    unlike = [row for row in cells if row["files"] and not (row["difference"] or 0) <= RIGHT]
    broken = [row for row in cells if row["files"] and row["difference"] is None]
    right = [value for value in differences if value <= RIGHT]
    return [
        len(cells),
        sum(row["runs"] for row in cells),
        sum(row["failed"] for row in cells),
        f"{len(unlike) + len(broken)} networks",
        f"{sum(row['wrong_epsilons'] > 0 for row in cells)} networks",
        f"{sum(row['files'] > 1 for row in cells)} networks",
        f"{max(right, default=float('nan')):.1g}",
        f"{statistics.median([row['seconds'] for row in cells]):.2f}",
    ]


if __name__ == "__main__":
    main()
