import math

import pytest
from pydantic import ValidationError

from ppcls_compress.config.load import explain
from ppcls_compress.data.options import LoaderConfig
from ppcls_compress.data.transforms import dump_transforms, inert_options, parse_transforms
from ppcls_compress.data.transforms.cropping import CropImage
from ppcls_compress.data.transforms.resampling import ResizeImage
from ppcls_compress.data.transforms.sampling import RandCropImage
from ppcls_compress.data.transforms.values import NormalizeImage

TRAIN = {
    "dataset": {
        "name": "ImageNetDataset",
        "image_root": "./dataset/ILSVRC2012/",
        "cls_label_path": "./dataset/ILSVRC2012/train_list.txt",
        "transform_ops": [
            {"DecodeImage": {"to_rgb": True, "channel_first": False}},
            {"RandCropImage": {"size": 224, "interpolation": "bicubic", "backend": "pil"}},
            {"RandFlipImage": {"flip_code": 1}},
            {
                "NormalizeImage": {
                    "scale": "1.0/255.0",
                    "mean": [0.485, 0.456, 0.406],
                    "std": [0.229, 0.224, 0.225],
                    "order": "",
                }
            },
        ],
        "batch_transform_ops": [{"MixupOperator": {"alpha": 0.2}}],
    },
    "sampler": {"name": "DistributedBatchSampler", "batch_size": 64, "drop_last": False, "shuffle": True},
    "loader": {"num_workers": 4, "use_shared_memory": True},
}


def with_ops(*ops):
    return {**TRAIN, "dataset": {**TRAIN["dataset"], "transform_ops": ["DecodeImage", *ops]}}


def problem(data):
    """The key path and the text of the only problem."""
    with pytest.raises(ValidationError) as error:
        LoaderConfig.model_validate(data)
    (line,) = explain(error.value, data, "yaml")
    return line.removeprefix("yaml: ").split(": ", 1)


def test_reads_what_upstream_writes():
    config = LoaderConfig.model_validate(TRAIN)
    decode, crop, flip, normalize = config.dataset.transform_ops
    assert decode.to_rgb
    assert not decode.channel_first
    assert crop == RandCropImage(size=(224, 224), interpolation="bicubic", backend="pil")
    assert flip.flip_code == 1
    assert math.isclose(normalize.scale, 1 / 255)
    assert config.dataset.batch_transform_ops[0].alpha == 0.2
    assert (config.sampler.batch_size, config.loader.num_workers, config.dataset.skip_bad_images) == (64, 4, 0)


def test_options_can_be_left_out():
    assert parse_transforms(["DecodeImage", {"RandFlipImage": None}, "ToCHWImage"]) == parse_transforms(
        [{"DecodeImage": {}}, {"RandFlipImage": {"flip_code": 1}}, {"ToCHWImage": None}]
    )


def test_a_list_is_width_and_height():
    _, crop = parse_transforms(["DecodeImage", {"CropImage": {"size": [3, 5]}}])
    assert crop == CropImage(size=(3, 5))


def test_names_of_backends_and_interpolations_ignore_case():
    assert ResizeImage(size=8, backend="PIL", interpolation="Box") == ResizeImage(
        size=8, backend="pil", interpolation="box"
    )


def test_dumped_transforms_read_back_equal():
    ops = LoaderConfig.model_validate(TRAIN).dataset.transform_ops
    assert parse_transforms(dump_transforms(ops)) == ops
    assert dump_transforms(ops)[1] == {
        "RandCropImage": {
            "size": [224, 224],
            "interpolation": "bicubic",
            "backend": "pil",
            "use_log_aspect": False,
        }
    }


def test_a_dumped_config_reads_back_equal():
    config = LoaderConfig.model_validate(TRAIN)
    assert LoaderConfig.model_validate(config.model_dump(mode="json")) == config


def test_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        CropImage(size=3).size = (1, 1)


def test_unknown_transform_names_the_closest():
    where, text = problem(with_ops({"RandCropImag": {"size": 3}}))
    assert where == "dataset.transform_ops.1"
    assert "unknown transform 'RandCropImag'; did you mean 'RandCropImage'?" in text


def test_unknown_option_names_the_closest():
    where, text = problem(with_ops({"CropImage": {"siez": 3}}))
    assert where == "dataset.transform_ops.1.CropImage"
    assert "did you mean 'size'?" in text


@pytest.mark.parametrize(
    ("op", "where", "text"),
    [
        ({"CropImage": {"size": [0, 1]}}, "CropImage.size.0", "greater than 0"),
        ({"CropImage": {"size": [1, 2, 3]}}, "CropImage.size", "at most 2"),
        ({"CropImage": 3}, "CropImage", "dictionary"),
        ({"CropImage": {}}, "CropImage.size", "required"),
        ({"RandFlipImage": {"flip_code": 2}}, "RandFlipImage.flip_code", "allowed: 1, 0, -1"),
        ({"ResizeImage": {}}, "ResizeImage", "found neither"),
        ({"ResizeImage": {"size": 3, "resize_short": 4}}, "ResizeImage", "found both"),
        ({"ResizeImage": {"size": 3, "backend": "opencv"}}, "ResizeImage.backend", "allowed: cv2, pil"),
        ({"ResizeImage": {"size": 3, "interpolation": "box"}}, "ResizeImage", "unknown interpolation of backend cv2"),
        ({"RandCropImage": {"size": 3, "scale": [0.5, 0.1]}}, "RandCropImage.scale", "low <= high"),
        ({"RandCropImage": {"size": 3, "ratio": [0, 1]}}, "RandCropImage.ratio", "0 < low"),
        ({"NormalizeImage": {"scale": "import os", "order": ""}}, "NormalizeImage.scale", "not a number"),
        ({"NormalizeImage": {"std": [1, 0, 1], "order": ""}}, "NormalizeImage.std", "positive"),
        ({"NormalizeImage": {"channel_num": 1, "order": ""}}, "NormalizeImage.channel_num", "allowed: 3, 4"),
        ({"Pad": {"padding": 4, "padding_mode": "mirror"}}, "Pad.padding_mode", ", reflect,"),
    ],
)
def test_wrong_option_is_named(op, where, text):
    found_where, found_text = problem(with_ops(op))
    assert found_where.removeprefix("dataset.transform_ops.1.") == where
    assert text in found_text


@pytest.mark.parametrize(
    ("ops", "text"),
    [
        ([], "the list is empty"),
        ({"DecodeImage": None}, "expected a list"),
        (None, "the list is empty"),
        (["RandFlipImage"], "first transform must be DecodeImage"),
        (["DecodeImage", "DecodeImage"], "decoded already"),
        (["DecodeImage", "ToCHWImage", {"CropImage": {"size": 3}}], "entry 2: CropImage needs [H, W, C]"),
        ([{"DecodeImage": {"channel_first": True}}, "RandFlipImage"], "entry 1: RandFlipImage needs [H, W, C]"),
        (["DecodeImage", "NormalizeImage"], "write order: hwc"),
        (["DecodeImage", "ToCHWImage", {"NormalizeImage": {"order": ""}}], "write order: chw"),
        (
            ["DecodeImage", {"NormalizeImage": {"order": ""}}, {"ResizeImage": {"size": 3, "backend": "pil"}}],
            "must come before NormalizeImage",
        ),
    ],
)
def test_an_order_that_cannot_work_is_refused(ops, text):
    where, found = problem({**TRAIN, "dataset": {**TRAIN["dataset"], "transform_ops": ops}})
    assert where.startswith("dataset.transform_ops")
    assert text in found


@pytest.mark.parametrize(
    ("section", "key", "value", "text"),
    [
        ("dataset", "name", "ImagNetDataset", "did you mean 'ImageNetDataset'?"),
        ("dataset", "skip_bad_images", -1, "greater than or equal to 0"),
        ("dataset", "batch_transform_ops", [{"MixupOperater": None}], "did you mean 'MixupOperator'?"),
        ("sampler", "name", "PKSamplers", "did you mean 'PKSampler'?"),
        ("sampler", "batch_size", 0, "greater than 0"),
        ("loader", "num_workers", -1, "greater than or equal to 0"),
    ],
)
def test_wrong_values_elsewhere(section, key, value, text):
    where, found = problem({**TRAIN, section: {**TRAIN[section], key: value}})
    assert where.startswith(f"{section}.{key}")
    assert text in found


@pytest.mark.parametrize("operator", ["MixupOperator", "CutmixOperator"])
def test_mixing_needs_a_positive_alpha(operator):
    ops = [{operator: {"alpha": 0}}]
    where, text = problem({**TRAIN, "dataset": {**TRAIN["dataset"], "batch_transform_ops": ops}})
    assert where == f"dataset.batch_transform_ops.0.{operator}.alpha"
    assert "greater than 0" in text


def test_options_without_effect_are_told_when_they_are_set():
    ops = parse_transforms(
        ["DecodeImage", {"ResizeImage": {"size": 3}}, {"NormalizeImage": {"order": "hwc", "output_fp16": True}}]
    )
    (line,) = inert_options(ops, "DataLoader.Train.dataset.transform_ops")
    assert line.startswith("DataLoader.Train.dataset.transform_ops.2.NormalizeImage.output_fp16 has no effect: ")
    assert list(inert_options([NormalizeImage(output_fp16=True)], "x"))
