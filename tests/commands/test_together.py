"""A network that learns from another, from training to the exported student."""

import json

import numpy as np
import pytest
from support.commands import call, errors
from support.project import make_project

from ppcls_compress import io

TEACHER = "CIFARResNet8"
SLIM = "Slim={prune: {name: fpgm, pruned_ratio: 0.3}, quant: {name: pact}}"


def sections(teacher=None, frozen=True, **model):
    return {
        "Arch": {
            "name": "DistillationModel",
            "class_num": 3,
            "freeze_params_list": [frozen, False],
            "models": [
                {"Teacher": {"name": TEACHER, "pretrained": teacher or False}},
                {"Student": {"name": "CIFARResNet8", **model}},
            ],
        },
        "Loss": {
            "Train": [
                {"DistillationDMLLoss": {"weight": 1.0, "model_name_pairs": [["Student", "Teacher"]]}},
                {"DistillationGTCELoss": {"weight": 1.0, "model_names": ["Student"]}},
            ],
            "Eval": [{"DistillationGTCELoss": {"weight": 1.0, "model_names": ["Student"]}}],
        },
        "Metric": {
            "Train": [{"DistillationTopkAcc": {"model_key": "Student", "topk": [1]}}],
            "Eval": [{"DistillationTopkAcc": {"model_key": "Student", "topk": [1, 2]}}],
        },
    }


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    root = tmp_path_factory.mktemp("teacher")
    assert call("train", make_project(root), "Global.epochs=2") == 0
    return str(root / "output" / TEACHER / "latest")


def folder(config):
    return config.parent / "output" / "DistillationModel"


@pytest.mark.slow
def test_the_student_is_compressed_trained_evaluated_and_exported(teacher, tmp_path, capsys):
    config = make_project(tmp_path, **sections(teacher))
    assert call("train", config, SLIM) == 0
    whole = io.read_state(folder(config) / "best_model.pdparams")
    alone = io.read_state(folder(config) / "best_model_student.pdparams")
    assert {key.partition(".")[0] for key in whole} == {"Teacher", "Student"}
    assert {key: value.shape for key, value in alone.items()} == {
        key.removeprefix("Student."): value.shape for key, value in whole.items() if key.startswith("Student.")
    }
    given = io.read_state(f"{teacher}.pdparams")
    assert all(np.array_equal(whole[f"Teacher.{key}"], value) for key, value in given.items())
    record = io.read_json(folder(config) / "best_model_student.slim.json")
    assert record == io.read_json(folder(config) / "best_model.slim.json")
    assert [step["kind"] for step in record["steps"]] == ["prune", "quant"]

    scores = []
    for name in ("best_model", "best_model_student"):
        out = tmp_path / f"{name}.json"
        weights = f"Global.pretrained_model={folder(config)}/{name}"
        assert call("eval", config, SLIM, weights, arguments=["--json", str(out)]) == 0
        scores.append(json.loads(out.read_text()))
    assert scores[0] == scores[1]
    assert call("export_model", config, SLIM, f"Global.pretrained_model={folder(config)}/best_model") == 0

    plain = make_project(tmp_path / "plain")
    weights = f"Global.pretrained_model={folder(config)}/best_model_student"
    capsys.readouterr()
    assert call("eval", plain, SLIM, weights) == 0  # the file of the student alone takes its weights


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [True, False])
def test_a_run_that_was_stopped_goes_on_exactly(teacher, tmp_path, frozen):
    whole, stopped = (
        make_project(tmp_path / name, **sections(teacher, frozen=frozen)) for name in ("whole", "stopped")
    )
    assert call("train", whole, "Global.epochs=2") == 0
    assert call("train", stopped, "Global.epochs=1", "Optimizer.lr={name: Constant, learning_rate: 0.05}") == 0
    constant = "Optimizer.lr={name: Constant, learning_rate: 0.05}"
    again = make_project(tmp_path / "again", **sections(teacher, frozen=frozen))
    assert call("train", again, "Global.epochs=2", constant) == 0
    start = f"Global.checkpoints={folder(stopped)}/latest"
    assert call("train", stopped, "Global.epochs=2", constant, start) == 0
    first, second = (io.read_state(folder(config) / "latest.pdparams") for config in (again, stopped))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[key], second[key]) for key in first)
    before = io.read_state(f"{teacher}.pdparams")
    same = all(np.array_equal(first[f"Teacher.{key}"], value) for key, value in before.items())
    assert same == frozen


def test_without_teacher_weights_the_key_is_told_and_a_dry_run_goes_on(tmp_path, capsys):
    config = make_project(tmp_path, **sections())
    assert call("train", config) == 2
    (line,) = errors(capsys)
    assert "Arch.models.0.Teacher.pretrained: Teacher is frozen" in line
    assert not (tmp_path / "output").exists()


@pytest.mark.slow
def test_a_dry_run_downloads_nothing_for_any_network(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    data = sections(pretrained=True)
    data["Arch"]["models"] = [
        {"Teacher": {"name": "ResNet18", "pretrained": True, "use_ssld": False}},
        {"Student": {"name": "MobileNetV1_x0_25", "pretrained": True, "return_patterns": ["avg_pool"]}},
    ]
    config = make_project(tmp_path, **data)
    assert call("train", config, "Global.image_shape=[3,32,32]", arguments=["--dry-run"]) == 0
    told = capsys.readouterr().err
    assert told.count("is not downloaded now; going on with fresh weights") == 3  # the cost is counted on a fresh one
    assert "DMLLoss_Student_Teacher_0" in told


@pytest.mark.slow
def test_weights_that_do_not_fit_a_network_are_told_under_its_key(tmp_path, capsys):
    io.write_state(tmp_path / "other.pdparams", {"fc.weight": np.zeros((2, 2), "float32")})
    config = make_project(tmp_path, **sections(str(tmp_path / "other")))
    assert call("train", config) == 2
    assert "Arch.models.0.Teacher: " in errors(capsys)[0]


def test_features_that_a_loss_counts_on_keep_their_channels(teacher, tmp_path):
    features, shapes = ["blocks[0]", "blocks[1]"], [[16, 8, 8], [32, 4, 4]]
    parts = sections(teacher)
    for entry, kind in zip(parts["Arch"]["models"], ("Teacher", "Student"), strict=True):
        ((name, network),) = entry.items()
        transform = {"name": f"LinearTransform{kind}", "qk_dim": 8, "keys": features}
        models = [{"Net": {**network, "return_patterns": features}}, {"Transform": transform}]
        entry[name] = {"name": "AttentionModel", "models": models, "freeze_params_list": [kind == "Teacher", False]}
    afd = {"model_name_pair": ["Student", "Teacher"], "s_shapes": shapes, "t_shapes": shapes}
    parts["Loss"]["Train"].append({"AFDLoss": afd})
    config = make_project(tmp_path, **parts)
    assert call("train", config, SLIM, "Global.epochs=1") == 0
    state = io.read_state(folder(config) / "latest_student.pdparams")
    shapes = {key: value.shape[0] for key, value in state.items() if key.endswith("conv.weight")}
    assert (shapes["blocks.0.conv1.conv.weight"], shapes["blocks.1.conv1.conv.weight"]) == (16, 32)
    assert shapes["blocks.2.conv1.conv.weight"] < 64
    record = io.read_json(folder(config) / "latest_student.slim.json")
    pinned = {pin["layer"]: pin["reason"] for pin in record["steps"][0]["pinned"]}
    assert pinned["blocks.0.conv1.conv"] == "is an output of the network"
