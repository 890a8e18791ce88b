import io
import pickle
import tarfile

import numpy as np
import pytest

from ppcls_compress.data import build_loader
from ppcls_compress.data.datasets.cifar import Cifar10, Cifar100
from ppcls_compress.data.options import LoaderConfig
from ppcls_compress.errors import ConfigError, UserError

WHERE = "DataLoader.Train.dataset"
NORMALIZE = {"NormalizeImage": {"scale": 1.0, "mean": [0.0] * 3, "std": [1.0] * 3, "order": "hwc"}}


def archive(path, members):
    with tarfile.open(path, "w:gz") as out:
        for name, content in members.items():
            data = pickle.dumps(content, protocol=2)
            info = tarfile.TarInfo(f"cifar/{name}")
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return path


def batch(seed, labels, key):
    images = np.random.default_rng(seed).integers(0, 256, (len(labels), 3072), np.uint8)
    return {b"data": images, key: labels}


@pytest.fixture
def ten(tmp_path):
    labels = np.arange(24) % 10
    batches = {f"data_batch_{n}": batch(n, labels[4 * n : 4 * n + 4].tolist(), b"labels") for n in range(1, 6)}
    return archive(tmp_path / "cifar-10-python.tar.gz", {**batches, "test_batch": batch(9, [3, 1], b"labels")})


def test_both_splits_are_read(ten):
    train = Cifar10(data_file=str(ten), transform_ops=[NORMALIZE]).read(class_num=10, where=WHERE)
    assert len(train) == 20
    assert train.labels.tolist() == [label % 10 for label in range(4, 24)]
    test = Cifar10(data_file=str(ten), mode="test", transform_ops=[NORMALIZE]).read(class_num=12, where=WHERE)
    red_first = batch(9, [3, 1], b"labels")[b"data"].reshape(2, 3, 32, 32)
    assert test.labels.tolist() == [3, 1]
    assert np.array_equal(test.pixels[1], red_first[1, ::-1].transpose(1, 2, 0))


def test_batches_hold_the_pixels_of_the_archive(ten):
    dataset = {"name": "Cifar10", "data_file": str(ten), "mode": "test", "transform_ops": [NORMALIZE]}
    config = LoaderConfig.model_validate({"dataset": dataset, "sampler": {"batch_size": 2}})
    ((images, labels),) = build_loader(config, class_num=10, seed=0, training=False)
    red_first = batch(9, [3, 1], b"labels")[b"data"].reshape(2, 3, 32, 32)
    assert np.array_equal(images.numpy(), red_first.astype(np.float32))
    assert labels.tolist() == [3, 1]


def test_a_few_images_of_each_class_are_listed_several_times(ten):
    dataset = Cifar10(data_file=str(ten), sample_per_label=1, expand_labels=3, transform_ops=[NORMALIZE])
    found = dataset.read(class_num=10, where=WHERE)
    assert found.labels.tolist() == list(range(10)) * 3
    assert found.paths == dataset.read(class_num=10, where=WHERE).paths
    with pytest.raises(UserError, match="class 0 has 2 images, sample_per_label asks for 3"):
        Cifar10(data_file=str(ten), sample_per_label=3, transform_ops=[NORMALIZE]).read(class_num=10, where=WHERE)


def test_a_hundred_classes_have_their_fine_labels(tmp_path):
    path = archive(tmp_path / "cifar-100-python.tar.gz", {"test": batch(1, [99, 0], b"fine_labels")})
    dataset = Cifar100(data_file=str(path), mode="test", transform_ops=[NORMALIZE])
    assert dataset.read(class_num=100, where=WHERE).labels.tolist() == [99, 0]
    with pytest.raises(ConfigError, match=r"Arch\.class_num: is 10, Cifar100 has 100"):
        dataset.read(class_num=10, where=WHERE)
    with pytest.raises(UserError, match="not the official archive: test_batch is not in it"):
        Cifar10(data_file=str(path), mode="test", transform_ops=[NORMALIZE]).read(class_num=10, where=WHERE)


def test_a_missing_archive_is_told_with_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    dataset = Cifar10(sample_per_label="None", transform_ops=[NORMALIZE])
    assert Cifar10(data_file="None", transform_ops=[NORMALIZE]).data_file == dataset.data_file
    with pytest.raises(ConfigError, match=r"dataset\.data_file: .* cifar-10-python\.tar\.gz here, or put it into .*r$"):
        dataset.check_paths(WHERE)
    with pytest.raises(ConfigError, match=r"dataset\.data_file: .* does not exist"):
        Cifar10(data_file="nowhere.tar.gz", transform_ops=[NORMALIZE]).check_paths(WHERE)


def test_decoding_is_left_out_or_not():
    for ops in ([NORMALIZE], ["DecodeImage", NORMALIZE], [{"DecodeImage": None}, NORMALIZE]):
        assert [type(op).__name__ for op in Cifar10(transform_ops=ops).transform_ops] == [
            "DecodeImage",
            "NormalizeImage",
        ]
