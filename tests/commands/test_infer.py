import io
import json
import os
import sys

import cv2
import numpy as np
import pytest
from PIL import Image
from support.commands import call, errors
from support.project import SIZE, make_project


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("infer")
    config = make_project(root)
    assert call("train", config, "Global.epochs=1") == 0
    weights = f"Global.pretrained_model={root}/output/CIFARResNet8/latest"
    assert call("export_model", config, weights) == 0
    return config, weights


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), np.uint8))
    for name in ("a.png", "b.gif", "c.tif", "d.png", "e.webp", "f.bmp"):
        image.save(folder / name)
    (folder / "notes.txt").write_text("a")
    (folder / "older").mkdir()
    return folder


def ways(trained):
    config, weights = trained
    return [(weights,), ()], [(), ("--artifact", str(config.parent / "inference"))]


@pytest.mark.parametrize("way", [0, 1], ids=["checkpoint", "artifact"])
def test_one_broken_image_does_not_cost_the_answers_of_the_others(trained, photos, capsys, way):
    (photos / "bb.png").write_bytes((photos / "a.png").read_bytes()[:-30])
    (photos / "dd.png").write_bytes(cv2.imencode(".png", np.zeros((5, 40, 3), np.uint8))[1].tobytes())
    os.mkfifo(photos / "g.jpg")
    overrides, arguments = (part[way] for part in ways(trained))
    code = call("infer", trained[0], *overrides, f"Infer.infer_imgs={photos}", arguments=arguments)
    found = capsys.readouterr()
    assert code == 2
    answered = [os.path.basename(json.loads(line)["file_name"]) for line in found.out.splitlines()]
    assert answered == ["a.png", "b.gif", "c.tif", "d.png", "e.webp", "f.bmp"]
    assert "bb.png: the image is truncated" in found.err
    assert "dd.png: the transforms make an image of [3, 5, 40] of it, [3, 8, 8] is needed" in found.err
    assert "g.jpg: not a regular file, but a pipe" in found.err
    assert "no images, and left out: notes.txt\n" in found.err
    assert found.err.splitlines()[-1] == f"error: {photos}: 3 of 9 images have no answer, as told above"


def test_all_images_of_a_folder_are_answered_whatever_their_form(trained, photos, capsys):
    config, weights = trained
    assert call("infer", config, weights, f"Infer.infer_imgs={photos}") == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    same = [answer["scores"] for answer in answers if not answer["file_name"].endswith(".gif")]  # 256 colours at most
    assert len(same) == 5
    assert all(scores == same[0] for scores in same[:2])


def test_a_single_broken_image_is_the_error_itself(trained, tmp_path, capsys):
    config, weights = trained
    (tmp_path / "a.png").write_bytes(b"x")
    assert call("infer", config, weights, f"Infer.infer_imgs={tmp_path}/a.png") == 2
    (line,) = errors(capsys)
    assert line.startswith(f"error: {tmp_path}/a.png: not an image: it has the form of none of JPEG, PNG, WEBP")


def test_images_are_not_guessed_to_be_prepared_already(trained, capsys):
    config, weights = trained
    assert call("infer", config, weights, "Infer.transforms=null") == 2
    assert errors(capsys) == ["error: Infer.transforms: is needed to prepare images; give what DataLoader.Eval has"]


@pytest.mark.parametrize("encoding", ["ascii", "gbk", "utf-8"])
def test_names_that_the_terminal_cannot_write_are_spelled_out(trained, tmp_path, monkeypatch, encoding):
    config, weights = trained
    for name in ("café \N{DOG FACE}.png".encode(), b"\xff\xfe.png"):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(cv2.imencode(".png", np.zeros((SIZE, SIZE, 3), np.uint8))[1].tobytes())
    output = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    monkeypatch.setattr(sys, "stdout", output)
    assert call("infer", config, weights, f"Infer.infer_imgs={tmp_path}") == 0
    lines = output.buffer.getvalue().decode(encoding).splitlines()
    names = {os.path.basename(os.fsencode(json.loads(line)["file_name"])) for line in lines}
    assert names == {"café \N{DOG FACE}.png".encode(), b"\xff\xfe.png"}
