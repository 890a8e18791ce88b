import builtins
import sys

import cv2
import numpy as np
import pytest
from sklearn.datasets import load_digits

from ppcls_compress.data import digits
from ppcls_compress.data.datasets import ImageNetDataset, MultiLabelDataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "digits"
    assert digits.write_digits(out) == (1437, 360, True)
    return out


def read(folder, split):
    lines = (folder / f"{split}_list.txt").read_text().splitlines()
    return {name: int(label) for name, label in (line.split(" ") for line in lines)}


def test_the_files_are_the_scans(folder):
    data = load_digits()
    for index in (0, 5, 1796):
        image = cv2.imread(str(folder / "images" / str(data.target[index]) / f"{index:04d}.png"), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_allclose(image / 255 * 16, data.images[index], atol=0.04)


def test_the_split_is_fixed_disjoint_and_stratified(folder):
    train, val = read(folder, "train"), read(folder, "val")
    assert (len(train), len(val)) == (1437, 360)
    assert not set(train) & set(val)
    classes = np.bincount([*train.values(), *val.values()])
    assert np.abs(np.bincount(list(val.values())) - classes / 5).max() < 1
    assert list(val)[:3] == ["images/0/0000.png", "images/2/0002.png", "images/4/0004.png"]


def test_the_lists_are_what_the_loader_reads(folder):
    options = ImageNetDataset(
        image_root=str(folder), cls_label_path=str(folder / "val_list.txt"), transform_ops=["DecodeImage"]
    )
    assert len(options.read(class_num=10, where="DataLoader.Eval.dataset")) == 360
    assert (folder / "label_list.txt").read_text().splitlines()[7] == "7 seven"


def test_a_second_run_changes_nothing(folder, capsys):
    before = (folder / "train_list.txt").stat().st_mtime_ns
    assert digits.main(["--out", str(folder)]) == 0
    assert capsys.readouterr().out.endswith("1437 images for training, 360 for validation (there already)\n")
    assert (folder / "train_list.txt").stat().st_mtime_ns == before


def test_a_folder_of_something_else_is_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("x")
    assert digits.main(["--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path} is not empty and holds something else; " + (
        "give a folder that is new or empty\n"
    )
    assert digits.main(["--out", str(tmp_path / "thesis.tex")]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(image):
        raise KeyboardInterrupt

    monkeypatch.setattr(digits, "_png", interrupted)
    with pytest.raises(KeyboardInterrupt):
        digits.write_digits(tmp_path / "digits")
    assert not list(tmp_path.iterdir())


def test_without_scikit_learn_the_message_says_what_to_install(tmp_path, monkeypatch, capsys):
    real_import = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    for name in [name for name in sys.modules if name.startswith("sklearn")]:
        monkeypatch.delitem(sys.modules, name)
    assert digits.main(["--out", str(tmp_path / "digits")]) == 2
    assert "pip install scikit-learn" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_digits_may_have_two_attributes_each(tmp_path):
    out = tmp_path / "digits"
    assert digits.main(["--out", str(out), "--attributes"]) == 0
    assert (out / "label_list.txt").read_text().splitlines() == ["0 larger_than_four", "1 odd"]
    options = MultiLabelDataset(
        image_root=str(out), cls_label_path=str(out / "train_list.txt"), transform_ops=["DecodeImage"]
    )
    found = options.read(class_num=2, where="DataLoader.Train.dataset")
    assert len(found) == 1437
    shown = [int(path.split("/")[-2]) for path in found.paths]
    assert found.labels.tolist() == [[digit > 4, digit % 2] for digit in shown]
