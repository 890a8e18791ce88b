"""The processes of `converters.py`: sizes, saving, converting, checking.

python benchmarks/converters_worker.py TASK FOLDER ...
"""

from __future__ import annotations

import fnmatch
import math
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from common import append, draw, emit

from ppcls_compress import io
from ppcls_compress.errors import UserError, one_line
from ppcls_compress.models import catalog

DOUBLES = "doubles"
BATCH, MEASURED = 2, 32  # images
CLOSE = 1e-3  # of the largest logit; rounding gives 1e-6 to 1e-5
SIZES = (64, 224, 384)  # of images, the first that a network takes
# With small images these would pool to a size larger than the image, which nobody does.
WHOLE_IMAGES = ("alexnet", "AlexNet", "vgg*", "VGG*", "googlenet", "GoogLeNet", "inception*", "Inception*")


def _sizes() -> None:
    """Bytes of parameters of each network, 0 where that takes building it."""
    import paddle

    from ppcls_compress import models

    found = {DOUBLES: 0}
    for name in catalog.names():
        try:
            with paddle.LazyGuard():
                state = models.build(name).state_dict()
            found[name] = 4 * sum(math.prod(tensor.shape) for tensor in state.values())
        except Exception:  # whatever a network does with weights that are not there
            found[name] = 0
    emit(found)


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
    from ppcls_compress.slim import prune
    from ppcls_compress.slim.graph import inference_mode
    from ppcls_compress.slim.tracing import save_program

    model = Deployed(_doubles() if name == DOUBLES else models.build(name), ending="none")
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
        # Statistics that are drawn too, or of few images, let some networks amplify rounding until no answer can be
        # told from another.
        seen = np.random.default_rng(1).standard_normal((MEASURED, *images.shape[1:]), np.float32)
        prune.recalibrate(model, [paddle.to_tensor(seen)])
        logits = model(paddle.to_tensor(images)).numpy()
        shape = [None, *images.shape[1:]]
        save_program(model, str(place / "model"), [paddle.static.InputSpec(shape, "float32", "image")])
    np.savez(place / "answers.npz", images=images, logits=logits)
    rounding = _rounding(model, images, logits)
    module = DOUBLES if name == DOUBLES else catalog.get(name).module
    return {
        "bytes": (place / "model.pdiparams").stat().st_size,
        "native": module not in ("vision", DOUBLES),
        "image": images.shape[1:],
        "norms": norms,
        "rounding": rounding,
    }


def _rounding(model, images: np.ndarray, logits: np.ndarray) -> float:
    """How far single precision is off, of the largest logit; 0 where a network does not run in double precision."""
    import paddle

    from ppcls_compress.slim.graph import inference_mode

    try:
        with inference_mode(model):
            exact = model.to(dtype="float64")(paddle.to_tensor(images.astype(np.float64))).numpy()
    except (ValueError, RuntimeError):  # indices that are a buffer became doubles, too
        return 0.0
    return float(np.abs(logits - exact).max() / np.abs(exact).max())


def _doubles():
    from paddle import nn

    head = (nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(8, 10))
    body = (nn.GroupNorm(2, 8), nn.LeakyReLU(0.3), nn.Pad2D(1, value=0.5), nn.Conv2D(8, 8, 3), nn.GroupNorm(4, 8))
    return nn.Sequential(nn.Conv2D(3, 8, 3), *body, nn.LeakyReLU(0.2), *head)


def _draw_all(model) -> int:
    """Weights as the other benchmarks draw them; epsilons between 1e-5 and 1e-3, the most that Paddle takes."""
    for key, tensor in model.state_dict().items():
        if tensor.is_floating_point():
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
        append(Path(log), {"cell": cell, **entry})


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
        difference = _off(runtime.load(path, "onnxruntime", threads=1).run(images), logits)
        if difference > CLOSE:
            difference = min(difference, _off(_as_written(path, images), logits))
    except Exception as error:  # of the runtime's own kinds, which have no common one
        problem = one_line(error, 150)
    return {"difference": difference, "problem": problem, "wrong_epsilons": wrong, "bytes": path.stat().st_size}


def _as_written(path: Path, images: np.ndarray) -> np.ndarray:
    """What a file itself says: folding batch norms rounds weights anew, and some drawn networks amplify that."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def _off(found: np.ndarray, logits: np.ndarray) -> float:
    return float(np.abs(found - logits).max() / np.abs(logits).max())


_TASKS = {"sizes": _sizes, "save": _save, "convert": _convert, "check": _check}

if __name__ == "__main__":
    _TASKS[sys.argv[1]](*sys.argv[2:])
