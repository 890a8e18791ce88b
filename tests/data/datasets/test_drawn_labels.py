"""Labels that transforms draw, and transforms that change during a run."""

import cv2
import numpy as np
import pytest

from ppcls_compress.config.load import explain
from ppcls_compress.data import build_loader
from ppcls_compress.data.options import LoaderConfig
from ppcls_compress.errors import ConfigError, UserError

SQUARE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Twelve times the same image of noise, a list without labels and one with."""
    for index in range(12):
        cv2.imwrite(str(tmp_path / f"{index}.png"), SQUARE[:, :, ::-1])
    (tmp_path / "list.txt").write_text("".join(f"{index}.png\n" for index in range(12)))
    (tmp_path / "labels.txt").write_text("".join(f"{index}.png {index % 4}\n" for index in range(12)))
    return tmp_path


def drawn(folder, *ops, label_key, class_num=4, **options):
    dataset = {
        "name": "CustomLabelDataset",
        "image_root": str(folder),
        "sample_list_path": str(folder / "list.txt"),
        "label_key": label_key,
        "transform_ops": ["DecodeImage", *ops],
        **options,
    }
    config = LoaderConfig.model_validate({"dataset": dataset, "sampler": {"batch_size": 5, "shuffle": False}})
    return build_loader(config, class_num=class_num, seed=3, training=True)


@pytest.mark.parametrize("key", ["random_rot90_orientation"])
def test_the_label_is_how_the_image_was_turned(folder, key):
    loader = drawn(folder, "RandomRot90", label_key=key)
    found = []
    for epoch in range(6):
        loader.set_epoch(epoch)
        for images, labels in loader:
            assert labels.numpy().dtype == np.int64
            for image, label in zip(images.numpy(), labels.numpy(), strict=True):
                np.testing.assert_array_equal(image, np.rot90(SQUARE, label).transpose(2, 0, 1))
                found.append(int(label))
    assert set(found) == {0, 1, 2, 3}


def test_the_label_is_whether_the_image_was_blurred(folder):
    loader = drawn(folder, "BlurImage", label_key="blur_image", class_num=2)
    kept = SQUARE.transpose(2, 0, 1)
    labels = []
    for batch, answers in loader:
        for image, label in zip(batch.numpy(), answers.numpy(), strict=True):
            assert (image == kept).all() == (label == 0)
            labels.append(int(label))
    assert set(labels) == {0, 1}


def test_drawn_labels_become_targets_of_batch_transforms(folder):
    loader = drawn(
        folder, "RandomRot90", label_key="random_rot90_orientation", batch_transform_ops=[{"MixupOperator": None}]
    )
    for _, targets in loader:
        assert targets.shape[1] == 4
        np.testing.assert_allclose(targets.numpy().sum(axis=1), 1, rtol=1e-6)


def test_a_label_that_no_transform_gives_is_refused():
    data = {
        "dataset": {
            "name": "CustomLabelDataset",
            "image_root": "a",
            "sample_list_path": "b",
            "label_key": "blur",
            "transform_ops": ["DecodeImage", "BlurImage"],
        }
    }
    data["sampler"] = {"batch_size": 2}
    with pytest.raises(ValueError, match="validation error") as error:
        LoaderConfig.model_validate(data)
    (line,) = explain(error.value, data, "yaml")
    assert "dataset.label_key: no transform in transform_ops gives 'blur'; labels there: blur_image" in line


def test_too_few_classes_and_missing_images_are_told(folder):
    with pytest.raises(ConfigError, match=r"label_key: random_rot90_orientation has 4 labels, Arch.class_num is 3"):
        drawn(folder, "RandomRot90", label_key="random_rot90_orientation", class_num=3)
    (folder / "list.txt").write_text("0.png\nno.png\n")
    with pytest.raises(UserError, match=r"list.txt:2: no such image"):
        drawn(folder, "RandomRot90", label_key="random_rot90_orientation")
    (folder / "list.txt").write_text("\n")
    with pytest.raises(UserError, match="list is empty"):
        drawn(folder, "RandomRot90", label_key="random_rot90_orientation")


def test_sizes_progress_with_the_run(folder):
    crop = {"RandCropImage": {"size": 2, "progress_size": [2, 3, 5, 6]}}
    dataset = {
        "image_root": str(folder),
        "cls_label_path": str(folder / "labels.txt"),
        "transform_ops": ["DecodeImage", crop],
    }
    config = LoaderConfig.model_validate({"dataset": dataset, "sampler": {"batch_size": 12}})
    loader = build_loader(config, class_num=4, seed=0, training=True, epochs=10)
    sides = []
    for epoch in range(10):
        loader.set_epoch(epoch)
        ((images, _),) = loader
        sides.append(images.shape[2])
    # PaddleClas counts epochs from 1 and goes on to the next part after the epochs 2, 5 and 7.
    assert sides == [2, 2, 3, 3, 3, 5, 5, 6, 6, 6]
