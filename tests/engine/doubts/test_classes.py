import numpy as np
import pytest
from support.doubting import configured

from ppcls_compress.engine.doubts.classes import about_judged, about_labels, about_names, check_main_metric
from ppcls_compress.errors import ConfigError


def about(config, *labels):
    return list(about_labels(config, np.array(labels, np.int64)))


def test_a_number_of_classes_that_was_not_given_is_compared_with_the_labels(tmp_path):
    assert about(configured(tmp_path), 0, 1, 2, 2) == []
    config = configured(tmp_path, without=["Arch.class_num"])
    assert about(config, 0, 1, 2) == [
        "Arch.class_num: not given, so the network has 1000 classes; the labels of DataLoader.Train are 0 to 2: "
        "Arch.class_num=3 would fit"
    ]
    assert about(config, *range(1000)) == []


def test_classes_without_an_image_are_told(tmp_path):
    config = configured(tmp_path, "Arch.class_num=12")
    assert about(config, 0, 1, 2, 11) == [
        "DataLoader.Train: of 12 classes (Arch.class_num), 8 have no image: 3, 4, 5, 6, 7, ..."
    ]
    (line,) = about(config, *range(1, 12))
    assert "there is no image of class 0; are its labels counted from 1?" in line
    assert "Arch.class_num is their number (11)" in line


def test_class_names_are_looked_at_before_training(tmp_path):
    config = configured(tmp_path)
    names = tmp_path / "images" / "label_list.txt"
    key = "Infer.PostProcess.class_id_map_file"
    assert list(about_names(config)) == [f"{key}: {names} does not exist; infer and export_model will need it"]
    names.parent.mkdir()
    names.write_text("1 a\n2 b\n3 c\n")
    assert list(about_names(config)) == [
        f"{key}: infer and export_model will refuse it: {names}: its indices are counted from 1 to 3; they must be "
        "from 0, as labels are"
    ]
    names.write_text("0 a\n1 b\n2 c\n")
    assert list(about_names(config)) == []
    assert list(about_names(configured(tmp_path, "Infer.PostProcess.class_id_map_file=null"))) == []


@pytest.mark.parametrize(("topk", "classes"), [([5], 3), (5, 5), ([3, 1], 3)])
def test_a_metric_that_every_network_passes_does_not_choose_the_best(tmp_path, topk, classes):
    config = configured(tmp_path, f"Arch.class_num={classes}", f"Metric.Eval=[{{TopkAcc: {{topk: {topk}}}}}]")
    with pytest.raises(ConfigError, match=r"Metric\.Eval\.0: its first value, top\d, chooses the best checkpoint"):
        check_main_metric(config)


@pytest.mark.parametrize(("topk", "classes"), [([1, 5], 3), (5, 6), ([2, 7], 3)])
def test_a_metric_that_tells_networks_apart_may_have_certain_ones_behind_it(tmp_path, topk, classes):
    check_main_metric(configured(tmp_path, f"Arch.class_num={classes}", f"Metric.Eval=[{{TopkAcc: {{topk: {topk}}}}}]"))


def test_attributes_that_never_differ_are_told(tmp_path):
    labels = np.array([[0, 1, 1, -1], [1, 1, 0, 0], [0, 1, 1, 0]], np.float32)
    assert list(about_labels(configured(tmp_path), labels)) == [
        "DataLoader.Train: of 4 attributes, 2 are the same in all images: nothing can be learned of them: 1, 3"
    ]
    assert list(about_labels(configured(tmp_path), labels[:, [0, 2]])) == []


def test_a_rate_of_positive_images_needs_some_of_each_kind(tmp_path):
    config = configured(tmp_path, "Metric.Eval=[{TprAtFpr: null}]")
    (line,) = about_judged(config, np.array([1, 1, 1]))
    assert "there are no negative images (class 0)" in line
    assert len(list(about_judged(config, np.zeros(3, int)))) == 1
    assert list(about_judged(config, np.array([0, 1]))) == []
    assert list(about_judged(configured(tmp_path), np.array([1, 1]))) == []


def test_identities_with_cameras_are_classes(tmp_path):
    labels = np.array([[0, 7], [1, 7], [2, 9]], np.int64)
    assert list(about_labels(configured(tmp_path), labels)) == []
    (line,) = about_labels(configured(tmp_path), labels[1:])
    assert "there is no image of class 0" in line
