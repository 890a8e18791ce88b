import copy

import numpy as np
import pytest
from support.project import config as project

from ppcls_compress.config.load import validate
from ppcls_compress.engine.plausible import about_preparation, check_main_metric, doubts
from ppcls_compress.errors import ConfigError


def configured(tmp_path, change=lambda data: None):
    data = copy.deepcopy(project(tmp_path))
    (tmp_path / "images").mkdir(exist_ok=True)
    (tmp_path / "images" / "label_list.txt").write_text("0 a\n1 b\n2 c\n")
    change(data)
    return validate(data, source="test")


def labels(*classes):
    return np.array(classes, np.int64)


def test_a_run_without_a_doubt(tmp_path):
    assert doubts(configured(tmp_path), labels(0, 1, 2, 2)) == []


def test_a_number_of_classes_that_was_not_given_is_compared_with_the_labels(tmp_path):
    config = configured(tmp_path, lambda data: data["Arch"].pop("class_num"))
    (line, *rest) = doubts(config, labels(0, 1, 2))
    assert line == (
        "Arch.class_num: not given, so the network has 1000 classes; the labels of DataLoader.Train are 0 to 2: "
        "Arch.class_num=3 would fit"
    )
    assert all("class_id_map_file" in line for line in rest)
    assert not any("Arch.class_num: not given" in line for line in doubts(config, np.arange(1000)))


def test_classes_without_an_image_are_told(tmp_path):
    def many(data):
        data["Arch"]["class_num"] = 12
        data["Infer"]["PostProcess"]["class_id_map_file"] = None

    config = configured(tmp_path, many)
    assert doubts(config, labels(0, 1, 2, 11)) == [
        "DataLoader.Train: of 12 classes (Arch.class_num), 8 have no image: 3, 4, 5, 6, 7, ..."
    ]
    (line,) = doubts(config, np.arange(1, 12))
    assert "there is no image of class 0; are its labels counted from 1?" in line
    assert "Arch.class_num is their number (11)" in line


def test_class_names_are_looked_at_before_training(tmp_path):
    config = configured(tmp_path)
    names = tmp_path / "images" / "label_list.txt"
    names.write_text("1 a\n2 b\n3 c\n")
    assert doubts(config, labels(0, 1, 2)) == [
        "Infer.PostProcess.class_id_map_file: infer and export_model will refuse it: "
        f"{names}: its indices are counted from 1 to 3; they must be from 0, as labels are"
    ]
    names.unlink()
    assert doubts(config, labels(0, 1, 2)) == [
        f"Infer.PostProcess.class_id_map_file: {names} does not exist; infer and export_model will need it"
    ]


@pytest.mark.parametrize(("topk", "classes"), [([5], 3), (5, 5), ([3, 1], 3)])
def test_a_metric_that_every_network_passes_does_not_choose_the_best(tmp_path, topk, classes):
    def change(data):
        data["Arch"]["class_num"] = classes
        data["Metric"]["Eval"] = [{"TopkAcc": {"topk": topk}}]

    with pytest.raises(ConfigError, match=r"Metric\.Eval\.0: its first value, top\d, chooses the best checkpoint"):
        check_main_metric(configured(tmp_path, change))


@pytest.mark.parametrize(("topk", "classes"), [([1, 5], 3), (5, 6), ([2, 7], 3)])
def test_a_metric_that_tells_networks_apart_may_have_certain_ones_behind_it(tmp_path, topk, classes):
    def change(data):
        data["Arch"]["class_num"] = classes
        data["Metric"]["Eval"] = [{"TopkAcc": {"topk": topk}}]

    check_main_metric(configured(tmp_path, change))


@pytest.mark.parametrize(
    ("decode", "normalize", "told"),
    [
        ({}, {}, None),
        ({"backend": "pil"}, {"scale": "1/255"}, None),
        ({"to_rgb": True}, {}, "colours (DecodeImage)"),
        ({"channels": 1}, {"mean": 0.5, "std": 0.25}, "colours (DecodeImage), NormalizeImage"),
        ({"exif_orientation": False}, {}, "EXIF orientation (DecodeImage)"),
        ({}, {"mean": [0.5, 0.5, 0.6]}, "NormalizeImage"),
        ({}, {"std": 0.25}, None),
        ({}, {"scale": 1.0}, "NormalizeImage"),
        ({}, None, "NormalizeImage"),
    ],
)
def test_values_that_inference_prepares_otherwise_are_told(tmp_path, decode, normalize, told):
    def change(data):
        ops = copy.deepcopy(data["Infer"]["transforms"])
        ops[0]["DecodeImage"] |= decode
        ops[1:2] = [] if normalize is None else [{"NormalizeImage": ops[1]["NormalizeImage"] | normalize}]
        data["Infer"]["transforms"] = [*ops[:1], {"ResizeImage": {"size": 8}}, *ops[1:]]

    lines = about_preparation(configured(tmp_path, change))
    if told is None:
        assert lines == []
    else:
        assert f"differs from DataLoader.Eval.dataset.transform_ops in {told}" in lines[0]


def test_nothing_is_said_of_preparation_where_there_is_nothing_to_compare(tmp_path):
    for section in ("Infer", "DataLoader"):
        assert about_preparation(configured(tmp_path, lambda data, section=section: data.pop(section))) == []
