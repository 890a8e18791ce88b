import hashlib
import io
import os
import pickle
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.cifar import PER_BATCH, batch, official, python2_pickle, write_tar

from ppcls_compress.data import cifar10, cifar_archives
from ppcls_compress.data.cifar_archives import CIFAR10
from ppcls_compress.errors import UserError


def jpeg(value):
    return cv2.imencode(".jpg", np.full((32, 32, 3), value, np.uint8))[1].tobytes()


def image_tars(folder, val_names=("test/cat/0.jpg",)):
    folder.mkdir(exist_ok=True)
    write_tar(folder / "train.tar", {"train/dog/0.jpg": jpeg(0), "./train/cat/1.jpg": jpeg(1), "train/extra.jpg": b"x"})
    write_tar(folder / "val.tar", {name: jpeg(2) for name in val_names})
    (folder / "train_list.txt").write_text("train/cat/1.jpg 3\ntrain/dog/0.jpg 5\n")
    (folder / "val_list.txt").write_text("".join(f"{name} 3\n" for name in val_names))
    return folder


def test_the_handmade_pickle_is_what_python_reads_as_the_official_one():
    images, labels = batch(0)
    read = pickle.loads(python2_pickle(images, labels), encoding="bytes")
    np.testing.assert_array_equal(read[b"data"], images)
    assert read[b"labels"] == labels


def test_official_archive_becomes_lossless_files_with_lists(tmp_path):
    out = tmp_path / "out"
    assert cifar10.write_cifar10(out, [official(tmp_path / "cifar.tar.gz")]) == (5 * PER_BATCH, PER_BATCH, True)
    lines = (out / "train_list.txt").read_text().splitlines()
    assert len(lines) == 5 * PER_BATCH
    images, labels = batch(1)  # the second of the five training batches
    for offset in range(PER_BATCH):
        name, label = lines[PER_BATCH + offset].split(" ")
        assert int(label) == labels[offset]
        assert name == f"train/{cifar10._CLASSES[labels[offset]]}/{PER_BATCH + offset:05d}.png"
        red_first = cv2.imread(str(out / name))[:, :, ::-1]
        np.testing.assert_array_equal(red_first.transpose(2, 0, 1), images[offset].reshape(3, 32, 32))
    assert (out / "val_list.txt").read_text().startswith("test/")
    assert (out / "label_list.txt").read_text().splitlines()[:2] == ["0 airplane", "1 automobile"]


def test_image_tars_are_copied_as_they_are(tmp_path):
    source, out = image_tars(tmp_path / "source"), tmp_path / "out"
    assert cifar10.write_cifar10(out, [source]) == (2, 1, True)
    assert (out / "train_list.txt").read_text() == (source / "train_list.txt").read_text()
    assert (out / "train/cat/1.jpg").read_bytes() == jpeg(1)
    assert (out / "test/cat/0.jpg").read_bytes() == jpeg(2)
    assert not (out / "train/extra.jpg").exists()
    assert cifar10.write_cifar10(out, [source / "val.tar", source / "train.tar"]) == (2, 1, False)


def test_another_source_does_not_overwrite(tmp_path):
    out = tmp_path / "out"
    cifar10.write_cifar10(out, [image_tars(tmp_path / "source")])
    with pytest.raises(UserError, match="not empty and holds something else"):
        cifar10.write_cifar10(out, [official(tmp_path / "cifar.tar.gz")])
    assert (out / "train/cat/1.jpg").exists()


def test_the_archive_is_downloaded_and_checked(tmp_path, file_server, monkeypatch, capsys):
    archive = official(tmp_path / "cifar.tar.gz").read_bytes()
    file_server.files["/cifar.tar.gz"] = archive
    monkeypatch.setattr(cifar10, "_URL", f"{file_server.url}/cifar.tar.gz")
    assert cifar10.main(["--out", str(tmp_path / "out")]) == 2
    assert "sha256" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(cifar10, "_SHA256", hashlib.sha256(archive).hexdigest())
    assert cifar10.main(["--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: 20 images for training, 4 for validation\n"


class Malicious:
    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not the official archive: data_batch_2 is not in it"),
        (b"", "data_batch_2: truncated or damaged"),
        (python2_pickle(*batch(1))[:-40], "data_batch_2: truncated or damaged"),
        (pickle.dumps(Malicious()), "data_batch_2: refused: it names .*system"),
        (pickle.dumps([1]), "expected `data`"),
        (python2_pickle(np.zeros((4, 3071), np.uint8), [0] * 4), "expected `data`"),
        (python2_pickle(np.zeros((4, 3072), np.uint8), [0] * 3), "expected 4 labels from 0 to 9"),
        (python2_pickle(np.zeros((1, 3072), np.uint8), [10]), "expected 1 labels from 0 to 9"),
        *[
            (
                pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [label]}),
                "expected 1 labels from 0 to 9",
            )
            for label in (3.0, True, None, "3", [3], np.zeros(2), -1)
        ],
    ],
)
def test_a_wrong_archive_is_refused_and_leaves_nothing(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    archive = official(tmp_path / "cifar.tar.gz", data_batch_2=content)
    with pytest.raises(UserError, match=message):
        cifar10.write_cifar10(tmp_path / "out", [archive])
    assert [path.name for path in tmp_path.iterdir()] == ["cifar.tar.gz"]


def test_sources_that_are_not_there_or_not_archives(tmp_path):
    (tmp_path / "page.tar.gz").write_text("<html>")
    for sources, message in (
        (["lost.tar"], "no such file"),
        (["page.tar.gz"], "not a readable tar archive"),
        (["page.tar.gz"] * 3, "expected one archive, two tars or a folder, found 3 paths"),
        (["."], "holds neither cifar-10-python.tar.gz nor train.tar and val.tar"),
    ):
        with pytest.raises(UserError, match=message):
            cifar10.write_cifar10(tmp_path / "out", [tmp_path / source for source in sources])
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_too_large_for_an_archive_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar_archives, "_LARGEST", 100)
    with pytest.raises(UserError, match=r"train\.tar: train/dog/0\.jpg has [\d,]+ bytes, more than any file"):
        cifar10.write_cifar10(tmp_path / "out", [image_tars(tmp_path / "source")])
    assert not (tmp_path / "out").exists()


def test_a_damaged_archive_is_refused(tmp_path):
    path = tmp_path / "damaged.tar.gz"
    noise = np.random.default_rng(0).integers(4, size=400_000, dtype=np.uint8).tobytes()
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("data_batch_1")
        member.size = len(noise)
        archive.addfile(member, io.BytesIO(noise))
    data = bytearray(path.read_bytes())
    data[40_000:40_400] = bytes(400)
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"damaged\.tar\.gz: not a readable tar archive"):
        list(cifar_archives.members(path))


def test_a_cut_tar_is_refused(tmp_path):
    source = image_tars(tmp_path / "source")
    data = (source / "train.tar").read_bytes()
    (source / "train.tar").write_bytes(data[:700])
    with pytest.raises(UserError, match=r"train\.tar: not a readable tar archive|not in the source"):
        cifar10.write_cifar10(tmp_path / "out", [source])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../evil.jpg", "/tmp/evil.jpg", "test/../../evil.jpg"])
def test_no_file_is_written_outside(tmp_path, name):
    source = image_tars(tmp_path / "source", val_names=(name,))
    with pytest.raises(UserError, match="not a path below the data set's folder"):
        cifar10.write_cifar10(tmp_path / "a/b/out", [source])
    assert not list(tmp_path.rglob("evil.jpg"))


def test_the_lists_beside_the_tars_are_checked(tmp_path):
    source = image_tars(tmp_path / "source")
    (source / "val_list.txt").write_text("test/cat/0.jpg 3\ntest/cat/7.jpg 3\n")
    with pytest.raises(UserError, match=r"1 listed images are not in the source, for one test/cat/7\.jpg"):
        cifar10.write_cifar10(tmp_path / "out", [source])
    (source / "val_list.txt").write_text("test/cat/0.jpg 10\n")
    with pytest.raises(UserError, match=r"val_list\.txt:1: expected a path and a label"):
        cifar10.write_cifar10(tmp_path / "out", [source])
    (source / "val_list.txt").unlink()
    with pytest.raises(UserError, match=r"the list that belongs beside the tar: .*val_list\.txt: cannot be read"):
        cifar10.write_cifar10(tmp_path / "out", [source])
    assert not (tmp_path / "out").exists()


def real_copy():
    folder = Path(os.environ.get("CIFAR10_DIR", ""))
    names = (CIFAR10.name, "train.tar")
    return folder if folder.is_absolute() and any((folder / name).is_file() for name in names) else None


@pytest.mark.slow
@pytest.mark.skipif(real_copy() is None, reason="CIFAR10_DIR does not name a folder with the archive or the tars")
def test_a_real_copy(tmp_path):
    train, val, written = cifar10.write_cifar10(tmp_path / "out", [real_copy()])
    assert (train, written) == (50_000, True)
    assert val in (5_000, 10_000)
    labels = [int(line.split()[1]) for line in (tmp_path / "out/train_list.txt").read_text().splitlines()]
    assert np.bincount(labels).tolist() == [5_000] * 10
