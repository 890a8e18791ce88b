import json

import paddle
import pytest
from support.commands import call, errors
from support.paddleslim import StandInQAT
from support.project import make_project

from ppcls_compress import io
from ppcls_compress.models import build


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("quantize")
    config = make_project(root)
    assert call("train", config, f"Global.output_dir={root}/dense") == 0
    return root


def dense(root):
    return f"Global.pretrained_model={root}/dense/CIFARResNet8/best_model"


def test_what_it_writes_evaluates_and_exports_like_any_checkpoint(trained, tmp_path):
    config, ptq = trained / "config.yaml", "Slim.quant={name: ptq}"
    assert call("quantize", config, ptq, dense(trained), f"Global.output_dir={tmp_path}") == 0
    prefix = tmp_path / "CIFARResNet8" / "quantized"
    assert [step["options"]["name"] for step in io.read_json(f"{prefix}.slim.json")["steps"]] == ["ptq"]
    weights = f"Global.pretrained_model={prefix}"
    metrics = []
    for start in ((weights, ptq), (dense(trained),)):
        assert call("eval", config, *start, arguments=["--json", str(tmp_path / "metrics.json")]) == 0
        metrics.append(json.loads((tmp_path / "metrics.json").read_text())["loss"])
    assert metrics[0] == pytest.approx(metrics[1], abs=0.2)
    assert call("export_model", config, weights, ptq, f"Global.save_inference_dir={tmp_path}/inference") == 0
    assert (tmp_path / "inference" / "slim.json").exists()


def test_it_calibrates_on_images_as_evaluation_prepares_them(trained, tmp_path):
    config, ptq = trained / "config.yaml", "Slim.quant={name: ptq}"
    dark = (
        "DataLoader.Train.dataset.transform_ops=[{DecodeImage: {to_rgb: False}}, "
        "{NormalizeImage: {mean: [0.5, 0.5, 0.5], std: [250.0, 250.0, 250.0], order: ''}}]"
    )
    limits = []
    for name, overrides in (("as_it_is", ()), ("dark", (dark,))):
        folder = tmp_path / name
        assert call("quantize", config, ptq, dense(trained), f"Global.output_dir={folder}", *overrides) == 0
        state = paddle.load(str(folder / "CIFARResNet8" / "quantized.pdparams"), return_numpy=True)
        limits.append({key: value for key, value in state.items() if key.endswith(("._low", "._high"))})
    assert limits[0]
    assert limits[0] == limits[1]


@pytest.mark.parametrize(
    ("command", "overrides", "expected"),
    [
        ("quantize", (), "Slim.quant: this section is needed"),
        ("quantize", ("Slim.quant={name: ptq}",), "Global.pretrained_model: name the trained weights"),
        ("train", ("Slim.quant={name: ptq}",), "Slim.quant.name: ptq needs no training; run ppcls-compress quantize"),
    ],
)
def test_bad_requests_are_one_line(trained, capsys, command, overrides, expected):
    assert call(command, trained / "config.yaml", *overrides) == 2
    assert expected in capsys.readouterr().err


def test_a_network_is_pruned_and_fine_tuned_before_it_is_calibrated(trained, tmp_path, capsys):
    config, ptq, prune = trained / "config.yaml", "Slim.quant={name: ptq}", "Slim.prune={name: fpgm}"
    output = f"Global.output_dir={tmp_path}"
    assert call("quantize", config, ptq, prune, dense(trained), output) == 2
    (line,) = errors(capsys)
    assert "Slim.prune: the weights lack this step" in line
    assert "train it first with ppcls-compress train" in line
    assert not list(tmp_path.rglob("*.pdparams"))
    assert call("train", config, prune, dense(trained), output, "Global.epochs=1") == 0
    assert call("quantize", config, ptq, prune, f"Global.pretrained_model={tmp_path}/CIFARResNet8/latest", output) == 0
    steps = io.read_json(tmp_path / "CIFARResNet8" / "quantized.slim.json")["steps"]
    assert [step["kind"] for step in steps] == ["prune", "quant"]


@pytest.mark.parametrize("clips", [None, "PACT"])
@pytest.mark.parametrize("quant", ["{name: pact, compat: paddleslim}", "{name: lsq}", "{name: qat}"])
def test_a_paddleslim_checkpoint_goes_on(trained, tmp_path, capsys, quant, clips):
    """What `paddleslim.QAT` saves has no record; the Slim section says how it was made."""
    model = build("CIFARResNet8", class_num=3)
    kinds = {"weight_quantize_type": "channel_wise_abs_max", "quantizable_layer_type": ["Conv2D", "Linear"]}
    types = {"activation_preprocess_type": "PACT", "weight_preprocess_type": clips}
    StandInQAT({**kinds, **types, "dtype": "int8", "onnx_format": True}).quantize(model)
    model.train()
    model(paddle.rand([8, 3, 8, 8]))
    upstream = {name: value.numpy() for name, value in model.state_dict().items()}
    io.write_state(tmp_path / "theirs.pdparams", upstream)
    start = [f"Global.pretrained_model={tmp_path}/theirs", f"Global.output_dir={tmp_path}", "Global.epochs=1"]
    assert call("train", trained / "config.yaml", *start) == 2
    assert "was trained by PaddleSlim's QAT; say how with a Slim.quant section" in capsys.readouterr().err
    assert call("train", trained / "config.yaml", "Slim.quant={name: ptq}", *start) == 2
    assert call("train", trained / "config.yaml", "Slim.quant={name: qat, fuse_conv_bn: true}", *start) == 2
    assert "theirs.pdparams: fuse_conv_bn: weights of PaddleSlim's QAT cannot go on" in capsys.readouterr().err
    assert call("train", trained / "config.yaml", f"Slim.quant={quant}", *start) == 0
    assert io.read_json(tmp_path / "CIFARResNet8" / "latest.slim.json")["steps"][0]["kind"] == "quant"
