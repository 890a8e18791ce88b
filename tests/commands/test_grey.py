"""Grey images from files to answers: nothing but `Global.image_shape` and the network says that they are."""

import json

import cv2
import numpy as np
import pytest
import yaml
from support.commands import call
from support.project import make_project

from ppcls_compress.deploy.predictor import Predictor

SIDE = 28
SLIM = "Slim={prune: {name: fpgm, pruned_ratio: 0.3}, quant: {name: pact}}"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A trained, pruned and quantized network on bars: upright ones, level ones, and none."""
    root = tmp_path_factory.mktemp("grey")
    path = make_project(root)
    config = yaml.safe_load(path.read_text())
    config["Global"] |= {"image_shape": [1, SIDE, SIDE], "epochs": 8}
    config["Arch"] = {"name": "CIFARResNet8", "class_num": 3, "input_image_channel": 1}
    ops = ["DecodeImage", {"NormalizeImage": {"mean": [0.5], "std": [0.25], "order": ""}}]
    for split in ("Train", "Eval"):
        config["DataLoader"][split]["dataset"]["transform_ops"] = ops
    config["Infer"]["transforms"] = ops
    path.write_text(yaml.safe_dump(config))
    for split in ("train", "val"):
        for line in (root / "images" / f"{split}_list.txt").read_text().splitlines():
            name, label = line.split()
            cv2.imwrite(str(root / "images" / name), bars(int(label), seed=len(name) + int(name[-7:-4])))
    assert call("train", path, SLIM) == 0
    return path


def bars(label, seed):
    image = np.random.default_rng(seed).integers(0, 60, (SIDE, SIDE), dtype=np.uint8)
    place = slice(4 + seed % 20, 8 + seed % 20)
    if label < 2:
        image[(slice(None), place) if label == 0 else place] = 230
    return image


@pytest.mark.slow
def test_a_grey_network_is_trained_exported_and_answers_alike(project, capsys, tmp_path):
    weights = f"Global.pretrained_model={project.parent}/output/CIFARResNet8/latest"
    capsys.readouterr()
    assert call("infer", project, SLIM, weights, "Infer.PostProcess.topk=1") == 0
    trained = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    truth = [int(line.split()[1]) for line in (project.parent / "images/val_list.txt").read_text().splitlines()]
    assert [answer["class_ids"][0] for answer in trained] == truth
    out = f"Global.save_inference_dir={tmp_path}"
    assert call("export_model", project, SLIM, weights, out, arguments=["--format", "paddle", "onnx-ort"]) == 0
    for folder in (tmp_path, tmp_path / "onednn", tmp_path / "onnx-ort"):
        predictor = Predictor(folder)
        assert predictor.artifact.description.image_shape == (1, SIDE, SIDE)
        files = [answer["file_name"] for answer in trained]
        assert [answer["class_id"] for answer in predictor.predict(files)] == truth
        # As the files give them, in colour, and as OpenCV reads grey: all the same picture.
        for flag in (cv2.IMREAD_COLOR, cv2.IMREAD_GRAYSCALE):
            arrays = [cv2.imread(file, flag) for file in files]
            assert predictor.predict(arrays) == predictor.predict(files)
