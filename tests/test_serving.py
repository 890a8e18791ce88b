"""The examples of docs/serving.md run, and give what the Predictor gives."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest
from support.exporting import export
from support.onnx_extras import needs_onnx

from ppcls_compress import models
from ppcls_compress.config.load import load_config
from ppcls_compress.deploy.formats import FORMATS
from ppcls_compress.deploy.predictor import Predictor
from ppcls_compress.slim import prune, quant
from ppcls_compress.slim.options import QuantOptions

ROOT = Path(__file__).parents[1]
SHAPE = (3, 16, 16)

pytestmark = [
    pytest.mark.slow,
    needs_onnx,
]


def examples():
    """What prepares an image, and the example of each format."""
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    prepare, ort, openvino, portable, onednn = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    integer = onednn + portable[portable.index("predictor = ") :]
    assert "onednn" in integer
    named = {
        "paddle": f"from paddle import inference\n{portable}",
        "onednn": f"from paddle import inference\n{integer}",
    }
    explicit = {
        name: ort.replace("onnx-ort", name) for name in ("onnx-qdq", "onnx-rknn")
    }  # ONNX Runtime reads them too
    lite = portable.replace("inference/inference.json", "inference/paddle-lite/inference.pdmodel")
    lite = lite.replace("inference/inference.pdiparams", "inference/paddle-lite/inference.pdiparams")
    lite = lite.replace("config.enable_mkldnn()", "config.disable_mkldnn()")
    return prepare, {"onnx-ort": ort, "onnx-openvino": openvino, "paddle-lite": lite, **explicit, **named}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A folder with a picture and every format of a quantized network."""
    folder = tmp_path_factory.mktemp("serving")
    rng = np.random.default_rng(0)
    cv2.imwrite(str(folder / "digit.png"), rng.integers(0, 255, (16, 16, 3), dtype=np.uint8))
    paddle.seed(0)
    model = models.build("CIFARResNet8", class_num=10)
    batch = paddle.to_tensor(rng.standard_normal((16, *SHAPE), np.float32))
    prune.recalibrate(model, [batch])
    model, step = quant.prepare(model, QuantOptions(name="pact"))
    quant.calibrate(model, [batch])
    config = load_config(ROOT / "configs" / "quick_start" / "digits_resnet.yaml")
    for kind in FORMATS.values():
        export(
            model,
            folder / "inference" / kind.folder,
            image_shape=SHAPE,
            record={"version": 1, "steps": [step]},
            calibration=[batch.numpy()],
            format=kind.name,
            preprocess=config.Infer.transforms,
        )
    return folder


@pytest.mark.parametrize("name", FORMATS)
def test_the_example_gives_what_the_predictor_gives(served, name):
    prepare, by_format = examples()
    program = f"{prepare}\n{by_format[name]}\nnp.save('scores.npy', scores)\n"
    subprocess.run([sys.executable, "-c", program], cwd=served, check=True, timeout=300)
    (answer,) = Predictor(served / "inference" / FORMATS[name].folder).predict([served / "digit.png"])
    scores = np.load(served / "scores.npy")
    assert scores.shape == (1, 10)
    assert int(scores.argmax()) == answer["class_id"]
    assert float(scores.max()) == pytest.approx(answer["score"], abs=0.01)
