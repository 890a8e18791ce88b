import numpy as np
import pytest
from support.project import write_images

from ppcls_compress.data import build_loader, synthetic_loader
from ppcls_compress.data.datasets import ImageNetDataset, MultiLabelDataset
from ppcls_compress.data.options import LoaderConfig
from ppcls_compress.errors import UserError

WHERE = "DataLoader.Train.dataset"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a.jpg", "b.jpg", "c d.jpg"):
        (tmp_path / "images" / name).write_bytes(b"x")
    return tmp_path


def read(folder, text, *, kind=MultiLabelDataset, class_num=3, **options):
    (folder / "list.txt").write_text(text)
    paths = {"image_root": str(folder / "images"), "cls_label_path": str(folder / "list.txt")}
    dataset = kind(**paths, transform_ops=["DecodeImage"], **options)
    return dataset.read(class_num=class_num, where=WHERE)


def test_reads_paths_and_labels(folder):
    found = read(folder, "a.jpg\t0,1,1\nc d.jpg\t0, -1, 0\n\nb.jpg 1,1,1\n")
    assert found.paths == [str(folder / "images" / name) for name in ("a.jpg", "c d.jpg", "b.jpg")]
    assert found.labels.tolist() == [[0, 1, 1], [0, -1, 0], [1, 1, 1]]
    assert found.labels.dtype == np.float32
    assert found.targets([2, 0]).tolist() == [[1, 1, 1], [0, 1, 1]]


def test_shares_of_labels_come_second(folder):
    found = read(folder, "a.jpg\t0,1,1\nb.jpg\t0,-1,0\nc d.jpg\t0,0,1\n", label_ratio=True)
    assert found.shares.tolist() == pytest.approx([0, 1 / 2, 2 / 3])
    targets = found.targets([1, 0])
    assert targets.shape == (2, 2, 3)
    assert targets[:, 0].tolist() == [[0, -1, 0], [0, 1, 1]]
    assert targets[0, 1].tolist() == targets[1, 1].tolist() == found.shares.tolist()


@pytest.mark.parametrize("line", ["b.jpg", "b.jpg\t0,1,2", "b.jpg\t0;1;1", "b.jpg\t0,1,", "\t0,1,1", "b.jpg\t0\t1"])
def test_a_malformed_line_is_named(folder, line):
    with pytest.raises(UserError, match=r"list\.txt:2: expected a path, a tab and 3 labels 0, 1 or -1"):
        read(folder, f"a.jpg\t0,1,1\n{line}\n")


def test_another_number_of_labels_is_named(folder):
    with pytest.raises(UserError, match=r"list\.txt:2: 2 labels found, Arch\.class_num is 3$"):
        read(folder, "a.jpg\t0,1,1\nb.jpg\t0,1\n")


@pytest.mark.parametrize("line", ["a.jpg 1", "a.jpg 7", "a.jpg\t17"])
def test_a_list_of_classes_is_recognised(folder, line):
    with pytest.raises(UserError, match=r"list\.txt:1: .*; the line has one class: such lists are for name: ImageNet"):
        read(folder, f"{line}\n")


def test_a_list_of_attributes_is_recognised_where_classes_are_due(folder):
    with pytest.raises(UserError, match=r"list\.txt:1: .*; the line has several labels: such lists are for .*Multi"):
        read(folder, "a.jpg\t0,1,1\n", kind=ImageNetDataset)


def test_one_attribute_may_be_all_there_is(folder):
    assert read(folder, "a.jpg\t1\nb.jpg\t0\n", class_num=1).labels.tolist() == [[1], [0]]


def test_missing_images_and_empty_lists_are_told(folder):
    with pytest.raises(UserError, match=r"list\.txt:2: no such image .*/e\.jpg"):
        read(folder, "a.jpg\t0,1,1\ne.jpg\t0,1,1\n")
    with pytest.raises(UserError, match="the list is empty"):
        read(folder, "\n")


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_batches_have_labels_and_shares(tmp_path, workers):
    lines = write_images(tmp_path / "train", 5, seed=0)
    rows = [[index % 2, 1, index // 3] for index in range(5)]
    text = [f"{line.split()[0]}\t{','.join(map(str, row))}" for line, row in zip(lines, rows, strict=True)]
    (tmp_path / "list.txt").write_text("\n".join(text))
    config = LoaderConfig.model_validate(
        {
            "dataset": {
                "name": "MultiLabelDataset",
                "image_root": str(tmp_path),
                "cls_label_path": str(tmp_path / "list.txt"),
                "label_ratio": True,
                "transform_ops": ["DecodeImage"],
            },
            "sampler": {"batch_size": 3},
            "loader": {"num_workers": workers},
        }
    )
    labels = [labels.numpy() for _, labels in build_loader(config, class_num=3, seed=0, training=False)]
    assert [batch.shape for batch in labels] == [(3, 2, 3), (2, 2, 3)]
    assert np.concatenate(labels)[:, 0].tolist() == rows
    assert labels[0].dtype == np.float32
    assert labels[1][1, 1].tolist() == pytest.approx([0.4, 1.0, 0.4])


@pytest.mark.parametrize(("ratio", "shape"), [(False, (4, 7)), (True, (4, 2, 7))])
def test_random_labels_have_the_shape_of_real_ones(ratio, shape):
    dataset = MultiLabelDataset(image_root="", cls_label_path="", transform_ops=["DecodeImage"], label_ratio=ratio)
    for _, labels in synthetic_loader([3, 8, 6], class_num=7, batch_size=4, steps=2, dataset=dataset):
        labels = labels.numpy()
        assert (labels.shape, labels.dtype) == (shape, np.float32)
        assert set(np.unique(labels)) <= {0, 0.5, 1}
