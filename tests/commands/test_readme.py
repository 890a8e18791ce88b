"""Every command of the README, typed as it stands there, on few images and for few steps."""

import hashlib
import shutil
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest
from support import cifar, readme
from support.onnx_extras import needs_onnx

from ppcls_compress import download, models
from ppcls_compress.data import cifar10
from ppcls_compress.models import catalog

INSTALLS = {"pip", "python3.11", "bash"}
"""What `.ci/run` does on a machine that has nothing."""
ARCH = "MobileNetV3_small_x1_0"
ALONE = ["-o", "DataLoader.Train.loader.num_workers=0", "-o", "DataLoader.Eval.loader.num_workers=0"]
MORE = {
    "train": ["-o", "Global.epochs=1", *ALONE],
    "export_model": ["-o", "Global.export_check_images=8", "-o", "Global.export_agreement=0.1", *ALONE],
    "benchmark": ["--rounds", "2"],
    "quantize": ["--calibration-images", "4", "--check-images", "4", "--agreement", "0.1"],
}
"""Arguments that make a command short; networks that learned next to nothing have classes that tie."""


def chapter(words):
    """Which of the tests below types this."""
    text = " ".join(words)
    if words[0] in INSTALLS:
        return "installing"
    if "paddle.distributed.launch" in text:
        return "several processes"
    if "--dry-run" in words:
        return "rehearsing"
    if "cifar10" in text.lower():
        return "cifar10"
    return "digits" if "digits" in text or "inference.onnx" in words else "photos"


COMMANDS = {}
for _words in readme.commands():
    COMMANDS.setdefault(chapter(_words), []).append(_words)


def type_in(name, place, monkeypatch, *, before=None, more=()):
    """Type the commands of a chapter in a folder, each after a call of `before` with its words."""
    monkeypatch.chdir(place)
    for folder in ("configs", "tools"):
        (place / folder).symlink_to(readme.ROOT / folder)
    for words in COMMANDS[name]:
        if before is not None:
            before(words)
        command = next((key for key in MORE if key in words or f"tools/{key}.py" in words), None)
        shorter = [] if command is None else [*([] if "--dry-run" in words else MORE[command]), *more]
        assert readme.run(words, shorter, monkeypatch=monkeypatch) == 0, words


def cut(file, count):
    """Leave so many lines of a list, spread over all of it."""
    lines = Path(file).read_text(encoding="utf-8").splitlines(keepends=True)
    Path(file).write_text("".join(lines[:: len(lines) // count][:count]), encoding="utf-8")


def make_photos(folder):
    rng = np.random.default_rng(0)
    for label, name in enumerate(("cat", "dog, 犬")):
        (folder / name / "more").mkdir(parents=True)
        for index in range(6):
            image = rng.integers(0, 100, (72, 96, 3), np.uint8)
            image[..., label] += 120
            target = folder / name / ("more" if index % 2 else ".") / f"{index}.jpg"
            target.write_bytes(cv2.imencode(".jpg", image)[1].tobytes())


def test_every_command_has_its_chapter():
    assert {name: len(found) > 0 for name, found in COMMANDS.items()} == dict.fromkeys(
        ["installing", "digits", "photos", "cifar10", "rehearsing", "several processes"], True
    )


@needs_onnx
@pytest.mark.slow
def test_digits_from_images_to_integers_in_every_runtime(tmp_path, monkeypatch, capsys):
    def prepare(words):
        if words[1] == "tools/train.py" and not Path("output").exists():
            cut("dataset/digits/train_list.txt", 64)
            cut("dataset/digits/val_list.txt", 16)
        if "inference.onnx" in words:
            float_one = Path("output/digits_resnet/inference/onnx-ort")
            shutil.copy(float_one / "model.onnx", "inference.onnx")
            shutil.copy(float_one / "inference.yml", "inference.yml")
            shutil.copytree("dataset/digits/images", "photos/images")
            shutil.copy("dataset/digits/val_list.txt", "val_list.txt")

    type_in("digits", tmp_path, monkeypatch, before=prepare)
    assert Path("output/digits_resnet_pact/inference/onnx-ort/inference.yml").is_file()
    assert "onnx-openvino on val_list.txt: top1 " in capsys.readouterr().err


@pytest.mark.slow
def test_photos_from_a_folder_to_a_page(tmp_path, monkeypatch):
    monkeypatch.setenv("PPCLS_COMPRESS_CACHE", str(tmp_path / "cache"))
    published = download.cache_path(catalog.get(ARCH).url)
    published.parent.mkdir(parents=True)
    paddle.save(models.build(ARCH, class_num=1000).state_dict(), str(published))
    make_photos(tmp_path / "photos")
    type_in("photos", tmp_path, monkeypatch)
    page = Path("my_photos/output/quantize/report.html").read_text(encoding="utf-8")
    assert "dog, 犬" in page
    assert len(page) < 5_000_000


@pytest.mark.slow
def test_cifar10_from_the_archive_to_a_checkpoint(tmp_path, monkeypatch, file_server):
    archive = cifar.official(tmp_path / "cifar.tar.gz").read_bytes()
    file_server.files["/cifar.tar.gz"] = archive
    monkeypatch.setattr(cifar10, "_URL", f"{file_server.url}/cifar.tar.gz")
    monkeypatch.setattr(cifar10, "_SHA256", hashlib.sha256(archive).hexdigest())
    type_in("cifar10", tmp_path, monkeypatch, more=["-o", "DataLoader.Train.sampler.batch_size=4"])
    assert list(tmp_path.glob("output/cifar10/resnet20/*/best_model.pdparams"))


@pytest.mark.slow
def test_a_rehearsal_without_images(tmp_path, monkeypatch, capsys):
    type_in("rehearsing", tmp_path, monkeypatch, more=["-o", "Global.image_shape=[3,64,64]"])
    assert "dry run" in capsys.readouterr().err
