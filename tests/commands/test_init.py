"""From a folder of photos to an answer, as README's "Your images" has it."""

import json

import cv2
import numpy as np
import pytest
from support.commands import errors

from ppcls_compress.cli import main
from ppcls_compress.config.load import load_config
from ppcls_compress.data import folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("init") / "my photos"
    rng = np.random.default_rng(0)
    for label, name in enumerate(("猫", "dog")):
        for index in range(10):
            place = root / name / ("deeper" if index % 2 else ".")
            place.mkdir(parents=True, exist_ok=True)
            image = rng.integers(0, 100, (40, 32, 3), np.uint8)
            image[..., label] += 120
            (place / f"{index}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return root


@pytest.fixture(scope="module")
def artifact(photos):
    out = photos.parent / "made"
    assert main(["init", "--images", str(photos), "--out", str(out)]) == 0
    config = ["-c", str(out / "train.yaml"), "-o", "DataLoader.Train.loader.num_workers=0"]
    config += ["-o", "DataLoader.Eval.loader.num_workers=0", "-o", "Arch.name=CIFARResNet8"]
    short = ["-o", "Global.epochs=2", "-o", "Optimizer.lr.warmup_epoch=0", "-o", "Global.print_batch_step=1"]
    assert main(["train", *config, *short, "--quiet", "--json-log", str(out / "log.jsonl")]) == 0
    weights = f"Global.pretrained_model={out}/output/train/CIFARResNet8/latest"
    assert main(["export_model", *config, "-o", weights]) == 0
    return out / "output/train/inference"


def test_a_run_is_told_as_lines_of_json(artifact):
    events = [json.loads(line) for line in (artifact.parents[2] / "log.jsonl").read_text().splitlines()]
    (first, *_) = batches = [event for event in events if event["event"] == "batch"]
    assert [(event["epoch"], event["batch"]) for event in batches] == [(1, 1), (2, 1)]
    assert {"loss", "metrics", "images_per_second", "seconds_left", "lr"} <= set(first)
    assert [event["metrics"].keys() >= {"top1"} for event in events if event["event"] == "evaluation"] == [True, True]


def test_a_run_that_early_stopping_ended_is_finished_until_it_is_to_go_on(photos, tmp_path, capsys):
    out = tmp_path / "made"
    assert main(["init", "--images", str(photos), "--out", str(out)]) == 0
    run = ["train", "-c", str(out / "train.yaml"), "-o", "DataLoader.Train.loader.num_workers=0"]
    run += ["-o", "DataLoader.Eval.loader.num_workers=0", "-o", "Arch.name=CIFARResNet8", "-o", "Global.epochs=6"]
    run += ["-o", "Optimizer.lr={name: Constant, learning_rate: 0.000001}"]
    stopping = ["-o", "Global.early_stopping={patience: 1, metric: top1, min_delta: 0.9}"]
    assert main([*run, *stopping]) == 0
    assert "early stopping after epoch 2 of 6" in capsys.readouterr().err
    assert main([*run, *stopping, "--resume"]) == 0
    assert "a run that early stopping ended after epoch 2; nothing was done" in capsys.readouterr().err
    assert main([*run, "--resume"]) == 0
    assert "epoch 6/6" in capsys.readouterr().err


def test_a_network_is_told_layer_by_layer(artifact, tmp_path, capsys):
    start = ["-o", "Arch.name=CIFARResNet8"]
    quantize = ["-c", str(artifact.parents[2] / "quantize.yaml"), *start, "-o", "Global.pretrained_model=null"]
    assert main(["summary", *quantize, "--json", str(tmp_path / "layers.json")]) == 0
    told = capsys.readouterr()
    assert "Slim.quant: is not done yet; the table is of the network before it" in told.err
    found = json.loads((tmp_path / "layers.json").read_text())
    assert found["flops"] == sum(layer["flops"] for layer in found["layers"])
    assert all(layer["quantized"] is None for layer in found["layers"])
    assert f"{found['params']:,}" in told.out


def test_after_a_run_its_own_weights_are_told_layer_by_layer_and_not_those_that_it_started_from(
    artifact, tmp_path, capsys
):
    config = artifact.parents[2] / "own.yaml"
    start = artifact.parents[1] / "train/CIFARResNet8/latest"
    config.write_text(f"_BASE_: quantize.yaml\nGlobal: {{pretrained_model: {start}, output_dir: {tmp_path}/run}}\n")
    run = ["-c", str(config), "-o", "Arch.name=CIFARResNet8"]
    run += ["-o", "DataLoader.Train.loader.num_workers=0", "-o", "DataLoader.Eval.loader.num_workers=0"]
    assert main(["train", *run, "-o", "Global.epochs=1"]) == 0
    capsys.readouterr()
    assert main(["summary", *run, "--json", str(tmp_path / "layers.json")]) == 0
    told = capsys.readouterr().err
    assert "of this configuration's own run" in told
    assert "is not done yet" not in told
    found = json.loads((tmp_path / "layers.json").read_text())
    assert any(layer["quantized"] for layer in found["layers"])


@pytest.mark.parametrize(
    ("command", "option"), [("eval", "--json"), ("summary", "--json"), ("report", "--page"), ("report", "--out")]
)
def test_a_file_of_results_that_cannot_be_written_is_told_first(tmp_path, capsys, command, option):
    """Before what the results come from is even looked for."""
    given = {"eval": ["--artifact", "nowhere"], "summary": ["-c", "nowhere.yaml"], "report": ["nowhere"]}[command]
    assert main([command, *given, option, str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: {option}: {tmp_path} is a folder; name a file\n"
    (tmp_path / "file").touch()
    assert main([command, *given, option, str(tmp_path / "file" / "found")]) == 2
    assert f"error: {tmp_path}/file: cannot be written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_artifact_is_used_without_its_configuration(artifact, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["infer", "--artifact", str(artifact), "--images", str(photos)]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(answers) == 20
    assert {answer["label_names"][0] for answer in answers} <= {"猫", "dog"}
    assert main(["eval", "--artifact", str(artifact), "--json", "found.json"]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    names = {answer["file_name"]: answer["label_names"][0] for answer in answers}
    lines = (artifact.parents[2] / "lists/val_list.txt").read_text("utf-8").splitlines()
    paths = [line.rpartition(" ")[0] for line in lines]
    right = [names[str(photos / path)] == path.split("/")[0] for path in paths]
    assert found["top1"] == pytest.approx(np.mean(right))
    assert [row["name"] for row in found["per_class"]] == ["dog", "猫"]
    assert [row["images"] for row in found["per_class"]] == [2, 2]
    assert np.trace(found["confusion_matrix"]) == round(found["top1"] * 4)
    folder.write_lists(photos, tmp_path / "lists", share=0.5)
    assert main(["eval", "--artifact", str(artifact), "--images", "lists"]) == 0
    assert main(["benchmark", "--artifacts", str(artifact), "--rounds", "2"]) == 0
    assert (tmp_path / "benchmark" / "benchmark.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["infer", "--images", "x"], "-c: name the configuration, or with --artifact an exported model"),
        (["infer", "--artifact", "{artifact}"], "--images: name an image or a folder"),
        (["eval", "--artifact", "{artifact}", "-o", "Global.seed=1"], "-o Global.seed=1: changes a configuration"),
        (["eval", "--artifact", "{artifact}", "--images", "."], "val_list.txt is not there; a folder with lists"),
        (["benchmark", "--artifacts", "{artifact}", "-o", "a=1"], "-o a=1: changes a configuration; name it with -c"),
        (["init", "--images", "{artifact}"], "two folders with images, one for each class, are needed"),
        (["init", "--images", "{photos}", "--out", "{made}"], "train.yaml is there already"),
        (
            ["init", "--images", "{made}/lists", "--val", "0.5"],
            "lists has lists, which say already what is for validation",
        ),
        (["init", "--images", "{photos}", "--arch", "ResNet51"], "--arch.name: unknown architecture 'ResNet51'"),
    ],
)
def test_what_is_missing_is_told(artifact, photos, tmp_path, monkeypatch, capsys, arguments, text):
    monkeypatch.chdir(tmp_path)
    places = {"artifact": artifact, "photos": photos, "made": artifact.parents[2]}
    assert main([part.format(**places) for part in arguments]) == 2
    assert text in errors(capsys)[0]


def test_lists_that_no_network_fits_leave_nothing(photos, tmp_path, capsys):
    for name in ("train", "val"):
        (photos.parent / f"{name}_list.txt").write_text(f"{photos.name}/dog/0.png 99999999\n", encoding="utf-8")
    assert main(["init", "--images", str(photos.parent), "--out", str(tmp_path / "made")]) == 2
    assert "class_num" in errors(capsys)[0]
    assert not list((tmp_path / "made").iterdir())


def test_photos_get_a_network_with_published_weights_and_small_images_a_small_one(photos, tmp_path, capsys):
    assert main(["init", "--images", str(photos), "--out", str(tmp_path / "small")]) == 0
    assert load_config(tmp_path / "small/train.yaml").Arch.name == "CIFARResNet20"
    for place in sorted(photos.rglob("*.png")):
        image = cv2.resize(cv2.imdecode(np.fromfile(place, np.uint8), 1), (160, 120))
        target = tmp_path / "large" / place.relative_to(photos)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(cv2.imencode(".jpg", image)[1].tobytes())
    folder.write_lists(tmp_path / "large", tmp_path / "lists")
    assert main(["init", "--images", str(tmp_path / "lists"), "--out", str(tmp_path / "photos")]) == 0
    assert "next: ppcls-compress train -c " in capsys.readouterr().out
    config = load_config(tmp_path / "photos/train.yaml")
    assert (config.Arch.name, config.Arch.class_num, config.Arch.pretrained) == ("MobileNetV3_small_x1_0", 2, True)
    assert config.Global.image_shape == (3, 224, 224)
    assert "MobileNetV3_small_x1_0_pretrained.pdparams" in (tmp_path / "photos/train.yaml").read_text()
    assert config.DataLoader.Train.dataset.image_root == str(tmp_path / "large")
    assert load_config(tmp_path / "photos/prune.yaml").Slim.prune.name == "fpgm"
    quantized = load_config(tmp_path / "photos/quantize.yaml")
    assert quantized.Slim.quant.name == "pact"
    assert quantized.Global.pretrained_model == f"{tmp_path}/photos/output/train/MobileNetV3_small_x1_0/best_model"
    assert quantized.Optimizer[0].lr.learning_rate < config.Optimizer[0].lr.learning_rate
