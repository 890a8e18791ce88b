"""What is told before training and beside a score, by the commands themselves."""

import pytest
from support.commands import call, errors
from support.project import make_project


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    config = make_project(tmp_path_factory.mktemp("doubts"))
    assert call("train", config, "Global.epochs=1") == 0
    return config, f"Global.pretrained_model={config.parent}/output/CIFARResNet8/latest"


def told(capsys):
    return [line.split(" WARNING ")[1] for line in capsys.readouterr().err.splitlines() if " WARNING " in line]


def test_a_run_without_a_doubt_says_nothing(trained, tmp_path, capsys):
    capsys.readouterr()
    assert call("train", trained[0], "Global.epochs=1", f"Global.output_dir={tmp_path}") == 0
    assert told(capsys) == []
    assert call("eval", *trained) == 0
    assert told(capsys) == []


def test_doubts_are_told_before_the_first_epoch(trained, tmp_path, capsys):
    images = trained[0].parent / "images"
    capsys.readouterr()
    overrides = [
        "Global.epochs=1",
        f"Global.output_dir={tmp_path}",
        f"DataLoader.Eval.dataset.cls_label_path={images}/train_list.txt",
        "DataLoader.Eval.sampler={batch_size: 7, drop_last: True}",
        "Optimizer.lr.warmup_epoch=3",
        "Arch={name: CIFARResNet8}",
        "Infer.transforms.1.NormalizeImage.mean=[0.5, 0.5, 0.4]",
    ]
    assert call("train", trained[0], *overrides) == 0
    lines = told(capsys)
    for start in (
        "Arch.class_num: not given",
        "Infer.PostProcess.class_id_map_file: infer and export_model will refuse it",
        "DataLoader.Eval: 24 of 24 images are in DataLoader.Train too",
        "DataLoader.Eval.sampler.drop_last: leaves 3 of 24 images out",
        "Infer.transforms: differs from DataLoader.Eval.dataset.transform_ops in NormalizeImage",
        "Optimizer.lr.warmup_epoch: 3 epochs of warm-up in a run of 1",
    ):
        assert sum(line.startswith(start) for line in lines) == 1
    assert len(lines) == 6
    log = (tmp_path / "CIFARResNet8" / "train.log").read_text()
    assert log.index("Arch.class_num: not given") < log.index("epoch 1/1")


def test_a_score_on_a_part_and_one_of_other_values_are_told(trained, tmp_path, capsys):
    config, weights = trained
    assert call("export_model", config, weights, f"Global.save_inference_dir={tmp_path}") == 0
    capsys.readouterr()
    changed = ["DataLoader.Eval.sampler={batch_size: 5, drop_last: True}"]
    changed.append("DataLoader.Eval.dataset.transform_ops.0.DecodeImage.to_rgb=True")
    assert call("eval", config, *changed, arguments=["--artifact", str(tmp_path)]) == 0
    first, second = told(capsys)
    assert first.startswith("DataLoader.Eval.sampler.drop_last: leaves 2 of 12 images out of every score")
    assert "differs from the preprocessing in" in second
    assert "in colours (DecodeImage); the score is that of other values" in second


@pytest.mark.parametrize("command", ["train", "eval"])
def test_two_lists_that_relabel_differently_are_refused(trained, tmp_path, capsys, command):
    config, weights = trained
    images = config.parent / "images"
    names = [line.split()[0] for line in (images / "val_list.txt").read_text().splitlines()]
    (tmp_path / "train.txt").write_text("".join(f"{name} {5 + i % 3}\n" for i, name in enumerate(names)))
    (tmp_path / "val.txt").write_text("".join(f"{name} {6 + i % 2}\n" for i, name in enumerate(names)))
    overrides = [
        f"DataLoader.{split}.dataset.{key}"
        for split, name in (("Train", "train"), ("Eval", "val"))
        for key in (f"cls_label_path={tmp_path}/{name}.txt", "relabel=True")
    ]
    capsys.readouterr()
    assert call(command, config, *overrides, *([weights] if command == "eval" else [])) == 2
    assert errors(capsys) == [
        "error: DataLoader.Eval.dataset.relabel: class 0 is label 6 of DataLoader.Eval and label 5 of "
        "DataLoader.Train; relabel numbers the labels of each list by itself, so both must have the same labels, or "
        "write them from 0 in both lists"
    ]
