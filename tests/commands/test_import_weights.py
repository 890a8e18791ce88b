import os
import subprocess
import sys

import pytest
from support.commands import errors
from support.onnx_extras import needs_onnx
from support.project import make_project

from ppcls_compress import io
from ppcls_compress.cli import main

pytestmark = needs_onnx

SAVE = """
import sys, paddle
from ppcls_compress import models
paddle.seed(3)
net = models.build("CIFARResNet8", class_num=3)
net.eval()
paddle.jit.save(net, sys.argv[1], input_spec=[paddle.static.InputSpec([None, 3, 8, 8], "float32", "x")])
paddle.save(net.state_dict(), sys.argv[1] + ".pdparams")
"""


@pytest.mark.slow
def test_a_program_of_paddle_2_is_quantized_and_its_weights_come_back(tmp_path, capsys):
    config = make_project(tmp_path)
    prefix = tmp_path / "infer" / "inference"
    environment = {**os.environ, "FLAGS_enable_pir_api": "0"}
    subprocess.run([sys.executable, "-c", SAVE, str(prefix)], env=environment, check=True, capture_output=True)
    assert prefix.with_suffix(".pdmodel").is_file()
    assert main(["import_weights", str(prefix.parent), "-c", str(config)]) == 0
    assert "parameters found by names" in capsys.readouterr().err
    written = io.read_state(tmp_path / "output" / "CIFARResNet8" / "imported.pdparams")
    expected = io.read_state(f"{prefix}.pdparams")
    assert written.keys() == expected.keys()
    assert all((written[key] == expected[key]).all() for key in written)
    images = ["--images", str(tmp_path / "images"), "--output", str(tmp_path / "out"), "--format", "onnx-ort"]
    assert main(["quantize", "--model", str(prefix), "-c", str(config), *images, "--agreement", "0.5"]) == 0
    assert (tmp_path / "out" / "onnx-ort" / "model.onnx").is_file()


def test_a_missing_model_is_told_in_a_line(tmp_path, capsys):
    config = make_project(tmp_path)
    assert main(["import_weights", str(tmp_path / "none.onnx"), "-c", str(config)]) == 2
    (line,) = errors(capsys)
    assert "none.onnx: no such file" in line
    assert not (tmp_path / "output").exists()
