import errno
import importlib.util
import json
import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from support.commands import QUANT, call, errors
from support.onnx_extras import needs_onnx
from support.project import make_project

from ppcls_compress.config.load import load_config
from ppcls_compress.deploy import artifact, compare, configured, formats, fresh, verify
from ppcls_compress.errors import UserError

OPTIONAL = ("paddle2onnx", "onnx", "onnxruntime", "openvino")


def described(folder):
    return yaml.safe_load((folder / "inference.yml").read_text(encoding="utf-8"))["Artifact"]


def test_paddle_comes_with_its_integer_program_and_is_evaluated_whole(trained_config, trained, tmp_path, capsys):
    assert call("export_model", trained_config, *trained, "Global.export_agreement={paddle: 0.9}", page=True) == 0
    told = capsys.readouterr()
    expected = (
        "bounds of the comparison were 90.00% and a mean difference of 10% of the largest logit, the defaults are 98"
    )
    assert expected in told.out + told.err
    parity = described(tmp_path / "inference")["parity"]
    assert (parity["bound"], parity["default_bound"]) == (0.9, 0.98)
    assert (parity["mean_bound"], parity["default_mean_bound"]) == (0.1, 0.02)
    assert parity["images"] == "12 images of DataLoader.Eval"
    assert parity["accuracy_artifact"] == parity["accuracy_model"]
    assert described(tmp_path / "inference" / "onednn")["parity"]["bound"] == 0.98
    assert told.err.splitlines()[-1].endswith(f"as a page: {tmp_path / 'inference' / 'report.html'}")
    page = (tmp_path / "inference" / "report.html").read_text(encoding="utf-8")
    assert "12 images of DataLoader.Eval" in page
    assert "Values on their grids" in page  # which training has left beside the weights
    metrics = []
    for arguments in ([], ["--artifact", str(tmp_path / "inference")]):
        assert (
            call("eval", trained_config, *trained, arguments=[*arguments, "--json", str(tmp_path / "metrics.json")])
            == 0
        )
        metrics.append(json.loads((tmp_path / "metrics.json").read_text()))
    names = ["top1", "top2", "loss"]
    assert list(metrics[0]) == [*names, "per_class", "confusion_matrix"]
    metrics = [{name: found[name] for name in names} for found in metrics]
    assert metrics[1] == pytest.approx(metrics[0], abs=0.01)


def test_an_artifact_of_another_network_is_not_evaluated(trained_config, tmp_path, capsys):
    folder = tmp_path / "inference"
    arguments = ["--synthetic-calibration"]
    assert call("export_model", trained_config, f"Global.save_inference_dir={folder}", arguments=arguments) == 0
    for override, message in (
        (
            "Global.image_shape=[3, 16, 16]",
            f"Global.image_shape: is [3, 16, 16], but {folder} takes images of [3, 8, 8]",
        ),
        ("Arch.class_num=4", f"Arch.class_num: is 4, but {folder} tells 3 classes apart"),
    ):
        capsys.readouterr()
        assert call("eval", trained_config, override, arguments=["--artifact", str(folder)]) == 2
        assert errors(capsys) == [f"error: {message}"]


def test_the_float_network_of_quantized_weights(trained_config, trained, tmp_path):
    assert call("export_model", trained_config, "Slim=null", *trained[1:]) == 0
    found = {name for name in os.listdir(tmp_path / "inference") if not name.startswith("report")}
    assert found == {"inference.json", "inference.pdiparams", "inference.yml"}
    assert described(tmp_path / "inference")["parity"]["bound"] == 1.0


def test_speed_only_needs_neither_weights_nor_data(tmp_path, capsys, monkeypatch):
    config = make_project(tmp_path / "project")
    (tmp_path / "project" / "images").rename(tmp_path / "elsewhere")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    overrides = [QUANT, f"Global.save_inference_dir={tmp_path}/inference"]
    assert call("export_model", config, *overrides, arguments=["--synthetic-calibration"]) == 0
    told = capsys.readouterr()
    told = told.out + told.err
    assert "for measuring speed only; weights are random" in told
    assert "label_list.txt does not exist; the artifact has no class names" in told
    assert "of the comparison" not in told
    assert "layers on integer kernels: Conv" in told
    for folder in (tmp_path / "inference", tmp_path / "inference" / "onednn"):
        description = described(folder)
        assert description["notes"][0] == (
            "--synthetic-calibration: for measuring speed only; "
            "weights are random and ranges come from random images, its answers mean nothing"
        )
        assert description["speed_only"]
        assert description["parity"]["bound"] == 0
        assert description["parity"]["synthetic"]


@pytest.mark.parametrize(
    ("slim", "weights", "what"),
    [
        ("Slim=null", False, "weights are random, its answers mean nothing"),
        ("Slim.prune={name: fpgm, pruned_ratio: 0.5}", False, "weights are random, its answers mean nothing"),
        ("Slim=null", True, "not checked on real images"),
        (QUANT, True, "ranges come from random images, its answers mean nothing"),
    ],
)
def test_speed_only_says_what_is_arbitrary(trained_config, trained, slim, weights, what):
    config = load_config(trained_config, [slim, *(trained[1:] if weights else [])])
    steps = [{"kind": "quant"}] if slim == QUANT else []
    plan = configured.plan(config, [formats.get("paddle")], {"version": 1, "steps": steps}, speed_only=True)
    assert plan.speed_only == f"--synthetic-calibration: for measuring speed only; {what}"


def test_whoever_uses_an_artifact_for_speed_is_warned_once(trained_config, tmp_path, capsys):
    folder = tmp_path / "inference"
    overrides = ["Slim=null", f"Global.save_inference_dir={folder}"]
    assert call("export_model", trained_config, *overrides, arguments=["--synthetic-calibration"]) == 0
    for command in ("eval", "infer"):
        capsys.readouterr()
        assert call(command, trained_config, arguments=["--artifact", str(folder)]) == 0
        line = f"{folder}: exported with --synthetic-calibration, for measuring speed only"
        assert capsys.readouterr().err.count(line) == 1


@pytest.mark.parametrize("done", [1, 2])
def test_layers_without_an_integer_kernel_are_told(trained_config, trained, capsys, monkeypatch, done):
    run = verify.run_fresh
    monkeypatch.setattr(verify, "run_fresh", lambda *given: (run(*given)[0], {"Conv": (done, 2)}))
    assert call("export_model", trained_config, *trained) == 0
    told = "".join(capsys.readouterr())
    assert f"layers on integer kernels: Conv {done} of 2" in told
    assert ("Conv 1 of 2; the others compute in float and gain no speed" in told) == (done == 1)


def test_a_comparison_that_fails_is_one_line_and_leaves_nothing(trained_config, trained, tmp_path, capsys, monkeypatch):
    def wrong(directory, images, runtime=None):
        return np.eye(3, dtype=np.float32)[np.arange(len(images)) % 3], {}

    monkeypatch.setattr(verify, "run_fresh", wrong)
    assert call("export_model", trained_config, *trained) == 2
    line, companion = errors(capsys)
    assert companion.startswith("error: onednn: the exported network does not compute")
    assert "paddle: the exported network does not compute what the trained one does" in line
    assert "is below the bound 98.00%" in line
    assert not (tmp_path / "inference").exists()


def test_a_folder_that_may_not_be_written_is_one_line(trained_config, trained, tmp_path, capsys, monkeypatch):
    original = tempfile.mkdtemp

    def denied(*args, **options):
        if "inference" in f"{args} {options}":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return original(*args, **options)

    monkeypatch.setattr(tempfile, "mkdtemp", denied)
    assert call("export_model", trained_config, *trained) == 2
    assert errors(capsys) == [f"error: {tmp_path}/inference: cannot be written: Permission denied"]
    assert not list(tmp_path.rglob("inference.*"))


def test_an_unwritable_folder_is_one_line(trained_config, trained, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert call("export_model", trained_config, *trained, f"Global.save_inference_dir={tmp_path}/file/inference") == 2
    assert errors(capsys) == [f"error: {tmp_path}/file/inference: cannot be written: Not a directory"]


def test_a_killed_export_leaves_the_old_artifact(tmp_path):
    """The old one until the renames begin that put the new files in place; between them, none."""

    def export(at):
        command = fresh.command("support.killed_export", str(tmp_path), str(at))
        return subprocess.run(command, env=fresh.environment(1), check=False).returncode

    def found():
        try:
            artifact.load(tmp_path)
        except UserError as error:
            return str(error)
        return (tmp_path / "a").read_text()

    for at in (0, 1, 4):
        assert export(99) == 0
        assert (found(), list(tmp_path.glob(".partial-*"))) == ("a 99", [])
        assert export(at) == -signal.SIGKILL
        assert found() == "a 99"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "onnx-orf"], "--format: unknown export format 'onnx-orf'; did you mean 'onnx-ort'?"),
        (["--format", "paddle", "onednn"], "--format: unknown export format 'onednn'"),
    ],
)
def test_an_unknown_format_is_one_line(trained_config, trained, capsys, arguments, message):
    assert call("export_model", trained_config, *trained, arguments=arguments) == 2
    (line,) = errors(capsys)
    assert message in line


@needs_onnx  # or more than the one package is missing
@pytest.mark.parametrize(
    ("name", "package", "line"),
    [
        ("onnx-ort", "onnxruntime", "onnxruntime not installed; pip install 'ppcls_compress[onnx]' brings it"),
        ("onnx-openvino", "openvino", "openvino not installed; pip install 'ppcls_compress[openvino]' brings it"),
        ("all", "openvino", "openvino not installed; pip install 'ppcls_compress[openvino]' brings it"),
    ],
)
def test_a_missing_extra_is_one_line_before_anything_is_written(
    trained_config, trained, tmp_path, capsys, monkeypatch, name, package, line
):
    find = importlib.util.find_spec
    there = find("numpy")
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda wanted: None if wanted == package else there if wanted in OPTIONAL else find(wanted),
    )
    assert call("export_model", trained_config, *trained, arguments=["--format", "paddle", name]) == 2
    assert errors(capsys) == [f"error: {line}"]
    assert not (tmp_path / "inference").exists()


def test_the_names_of_formats_are_the_same_everywhere():
    assert set(load_config_with("Global.export_agreement=0.5").Global.export_agreement) == set(formats.FORMATS)


def load_config_with(*overrides):
    return load_config(Path(__file__).parents[2] / "configs/quick_start/digits_resnet.yaml", overrides)


def test_without_images_the_fast_format_says_what_to_do():
    nowhere = [f"DataLoader.{split}.dataset.image_root=/nowhere" for split in ("Train", "Eval")]
    record = {"version": 1, "steps": [{"kind": "quant"}]}
    config = load_config_with(*nowhere)
    with pytest.raises(UserError, match=r"onnx-ort: needs calibration images, .*--synthetic-calibration"):
        configured.plan(config, [formats.get("onnx-ort")], record, speed_only=False)
    plan = configured.plan(config, [formats.get("paddle")], record, speed_only=False)
    assert str(plan.check) == f"{configured.RANDOM_IMAGES} random images"
    assert [kind.name for kind in plan.formats] == ["paddle", "onednn"]


def logarithms(answers):
    """Of the probabilities that `infer` tells, [images, classes in order]."""
    return np.log([[score for _, score in sorted(zip(a["class_ids"], a["scores"], strict=True))] for a in answers])


@needs_onnx
@pytest.mark.parametrize("command", ["infer", "eval"])
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--runtime", "openvino"], "--runtime: is for exported models, which --artifact names"),
        (["--artifact", ".", "--runtime", "openvinno"], "--runtime: unknown runtime 'openvinno'; did you mean"),
    ],
)
def test_a_runtime_that_cannot_be_meant_is_one_line(trained_config, trained, capsys, command, arguments, expected):
    capsys.readouterr()
    assert call(command, trained_config, *trained, arguments=arguments) == 2
    (line,) = errors(capsys)
    assert line.startswith(f"error: {expected}")


@pytest.mark.slow
@pytest.mark.usefixtures("started_processes")
def test_all_formats_lie_beside_each_other_and_answer_alike(trained_config, trained, tmp_path, capsys):
    named = [name for name, kind in formats.FORMATS.items() if kind.elsewhere]
    assert call("export_model", trained_config, *trained, arguments=["--format", "all", *named]) == 0
    assert "stays as it is" not in capsys.readouterr().err
    folders = [tmp_path / "inference" / kind.folder for kind in formats.FORMATS.values()]
    answers = []
    for folder in folders:
        written = artifact.load(folder)
        assert written.record["steps"][0]["kind"] == "quant"
        assert written.description.class_names == ("blue", "green", "red")
        moved = tmp_path / "elsewhere" / (folder.name or "paddle")
        folder_only = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        moved.mkdir(parents=True)
        for name, content in folder_only.items():
            (moved / name).write_bytes(content)
        capsys.readouterr()
        topk = "Infer.PostProcess.topk=3"
        assert call("infer", trained_config, *trained, topk, arguments=["--artifact", str(moved)]) == 0
        answers.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    first = compare.Reference(np.empty(0), logarithms(answers[0]))
    for kind, others in zip(formats.FORMATS.values(), answers, strict=True):
        report = compare.compare(first, logarithms(others), compare.ANY)
        # Each may be as far from the trained network as its own bound says, and so may the first.
        allowed = formats.get("paddle").mean + kind.mean
        assert report.mean_difference <= allowed * report.largest_logit, kind.name
    notes = described(tmp_path / "inference" / "onnx-ort")["notes"]
    expected = (
        "ranges that training does not learn come from 24 images of DataLoader.Train, prepared as DataLoader.Eval says"
    )
    assert notes[0] == expected
    chosen = ["--artifact", str(tmp_path / "inference" / "onnx-ort"), "--runtime", "openvino"]
    for command in ("infer", "eval"):
        assert call(command, trained_config, *trained, arguments=chosen) == 0
    before = (tmp_path / "inference" / "onnx-ort" / "model.onnx").stat().st_mtime_ns
    capsys.readouterr()
    assert call("export_model", trained_config, *trained, arguments=["--format", "onnx-openvino", "--verbose"]) == 0
    assert re.search(r"DEBUG AddIntoLayer: \S+ stays as it is: \S+ is computed", capsys.readouterr().err)
    assert (tmp_path / "inference" / "onnx-ort" / "model.onnx").stat().st_mtime_ns == before
    assert artifact.load(tmp_path / "inference").quantized


def test_a_run_is_exported_evaluated_and_asked_without_naming_its_weights(trained_config, tmp_path, capsys):
    folder = f"Global.save_inference_dir={tmp_path}/inference"
    for command, overrides in {"export_model": [folder], "eval": [], "infer": []}.items():
        capsys.readouterr()
        assert call(command, trained_config, QUANT, *overrides) == 0
        told = [line for line in capsys.readouterr().err.splitlines() if "of this configuration's own run" in line]
        assert len(told) == 1, command
        assert f"{trained_config.parent}/output/CIFARResNet8/best_model" in told[0]
    assert artifact.load(tmp_path / "inference").description.source.endswith("CIFARResNet8/best_model")
