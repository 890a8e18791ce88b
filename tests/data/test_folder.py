"""Class folders become lists; nothing is guessed, and what is left out is told."""

import os

import cv2
import numpy as np
import pytest

from ppcls_compress.data.folder import main, read_class_folders, root_of, write_lists
from ppcls_compress.data.labels import read_class_names, read_labelled_images
from ppcls_compress.data.places import Places
from ppcls_compress.errors import UserError

CLASSES = ("Zebra 2", "кошки", "猫", "\u3000wide")


def picture(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "my photos"
    for number, name in enumerate(CLASSES):
        for index in range(10):
            inner = root / name / ("older ones/1999" if index % 2 else "")
            picture(inner / f"im {index}.png", 100 * number + index)
    return root


def read(out, root, split):
    return read_labelled_images(
        places=Places(root, allow_outside=False),
        label_file=out / f"{split}_list.txt",
        class_num=len(CLASSES),
        delimiter=None,
        relabel=False,
        missing_allowed=0,
        where="here",
    )


def test_names_with_spaces_of_any_script_in_nested_folders_are_read_back_by_the_loader(root, tmp_path):
    write_lists(root, tmp_path / "lists")
    train, val = (read(tmp_path / "lists", root, split) for split in ("train", "val"))
    assert np.bincount(train.labels).tolist() == [8] * 4
    assert np.bincount(val.labels).tolist() == [2] * 4
    assert not set(train.paths) & set(val.paths)
    names = read_class_names(tmp_path / "lists" / "label_list.txt", len(CLASSES))
    assert names == ["Zebra 2", "кошки", "wide", "猫"]
    assert root_of(tmp_path / "lists") == root


def test_a_split_stays_when_images_are_added_and_another_seed_gives_another(root):
    before = {image.name for image in read_class_folders(root).val}
    assert {image.name for image in read_class_folders(root, seed=1).val} != before
    picture(root / CLASSES[0] / "new.png", 999)
    after = {image.name for image in read_class_folders(root).val}
    assert len(before ^ after) <= 2


def test_a_split_that_is_there_is_kept(tmp_path):
    for split, count in (("train", 3), ("val", 2)):
        for label in ("a", "b"):
            for index in range(count):
                picture(
                    tmp_path / split / label / f"{index}.png", 1000 * (split == "val") + 100 * (label == "b") + index
                )
    found = read_class_folders(tmp_path)
    assert found.classes == ("a", "b")
    assert {image.name.split("/")[0] for image in found.train} == {"train"}
    assert {image.name.split("/")[0] for image in found.val} == {"val"}
    picture(tmp_path / "test" / "a" / "0.png", 777)
    with_test = read_class_folders(tmp_path)
    assert (with_test.train, with_test.val) == (found.train, found.val)
    assert with_test.skipped == {"test/a/0.png": "of a test split, beside one for validation"}
    picture(tmp_path / "val" / "c" / "0.png", 5)
    with pytest.raises(UserError, match="no images to train on of c, which validation has"):
        read_class_folders(tmp_path)


def test_what_is_left_out_is_told_with_the_reason(root, tmp_path, capsys):
    zebra = root / CLASSES[0]
    first = (zebra / "im 0.png").read_bytes()
    (zebra / "copy.png").write_bytes(first)
    (root / CLASSES[1] / "im 2.png").write_bytes((root / CLASSES[2] / "im 2.png").read_bytes())
    (zebra / "cut.png").write_bytes(first[:-20])
    (zebra / "empty.jpg").write_bytes(b"")
    (zebra / "notes.txt").write_text("x")
    (zebra / "a\nb.png").write_bytes(first + b" ")
    picture(root / "at the top.png", 77)
    picture(root / ".cache" / "x.png", 78)
    picture(tmp_path / "elsewhere.png", 79)
    (zebra / "link.png").symlink_to(tmp_path / "elsewhere.png")
    with open(os.path.join(os.fsencode(zebra), b"\xff.png"), "wb") as file:
        file.write(first + b"  ")
    assert main([str(root), "--out", str(tmp_path / "lists")]) == 0
    told = dict(line.split("\t") for line in (tmp_path / "lists" / "skipped.txt").read_text("utf-8").splitlines())
    assert told == {
        ".cache/": "a hidden folder",
        "at the top.png": "in no folder of a class",
        "Zebra 2/\\udcff.png": "its name is no text in UTF-8",
        "Zebra 2/a\\nb.png": "a line break in its name, which no list can have",
        "Zebra 2/im 0.png": "a copy of Zebra 2/copy.png",
        "Zebra 2/cut.png": "the image is truncated",
        "Zebra 2/empty.jpg": "the file is empty",
        "Zebra 2/link.png": "a link that leads out of the folder",
        "Zebra 2/notes.txt": "no image, by the ending of its name",
        "кошки/im 2.png": "has the bytes of 猫/im 2.png, which is of another class",
        "猫/im 2.png": "has the bytes of кошки/im 2.png, which is of another class",
    }
    output = capsys.readouterr()
    assert "left out: Zebra 2/cut.png: the image is truncated" in output.err
    assert f"left out: {len(told)} in all, listed in" in output.err
    assert output.out == f"{tmp_path / 'lists'}: 30 images for training, 8 for validation\n"


def test_lists_are_renewed_and_nothing_else_is_replaced(root, tmp_path, capsys):
    out = tmp_path / "lists"
    assert main([str(root), "--out", str(out)]) == 0
    picture(root / CLASSES[0] / "one more.png", 998)
    assert main([str(root), "--out", str(out), "--val", "0.5"]) == 0
    assert len(read(out, root, "train")) + len(read(out, root, "val")) == 41
    other = tmp_path / "other"
    other.mkdir()
    (other / "train_list.txt").write_text("mine")
    assert main([str(root), "--out", str(other)]) == 2
    assert (other / "train_list.txt").read_text() == "mine"
    assert "holds something else; give a folder that is new or empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["lost"], "lost: no such folder"),
        (["{root}/Zebra"], "Zebra: no such folder; did you mean {root}/Zebra 2?"),
        (["{root}", "--val", "1"], "--val: expected a share between 0 and 1, found 1.0"),
        (["{root}/Zebra 2/older ones"], "two folders with images, one for each class, are needed"),
    ],
)
def test_what_cannot_be_used_is_one_line(root, tmp_path, capsys, arguments, text):
    assert main([part.format(root=root) for part in arguments] + ["--out", str(tmp_path / "lists")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert text.format(root=root) in line
    assert not (tmp_path / "lists").exists()
