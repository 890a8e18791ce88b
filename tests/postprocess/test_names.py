import re

import pytest

from ppcls_compress.data import read_class_names
from ppcls_compress.postprocess import names

COUNTS = {
    "COCO2017": 80,
    "NUS-WIDE-SCENE": 33,
    "PULC_label_list/image_orientation": 4,
    "PULC_label_list/language_classification": 10,
    "PULC_label_list/text_image_orientation": 4,
    "PULC_label_list/textline_orientation": 2,
    "PULC_label_list/traffic_sign": 232,
    "imagenet1k": 1000,
    "pedestrian_attribute": 26,
    "vehicle_attribute": 19,
}


def test_every_list_that_comes_along_is_one_of_names():
    found = {re.fullmatch(r"ppcls/utils/(.*)_label_list\.txt", name)[1]: name for name in names.shipped()}
    assert sorted(found) == sorted(COUNTS)
    for short, name in found.items():
        assert len(read_class_names(names.find(name), COUNTS[short])) == COUNTS[short]


@pytest.mark.parametrize("before", ["", "./", "../../", "/somewhere/PaddleClas/"])
def test_a_list_of_paddleclas_need_not_exist(before):
    listed = read_class_names(names.find(f"{before}ppcls/utils/imagenet1k_label_list.txt"), 1000)
    assert (listed[0], listed[281], listed[999]) == (
        "tench, Tinca tinca",
        "tabby, tabby cat",
        "toilet tissue, toilet paper, bathroom tissue",
    )


def test_a_file_that_exists_is_taken_before_the_one_that_comes_along(tmp_path):
    own = tmp_path / "ppcls" / "utils" / "imagenet1k_label_list.txt"
    own.parent.mkdir(parents=True)
    own.write_text("0 cat\n1 dog\n")
    assert read_class_names(names.find(str(own)), 2) == ["cat", "dog"]


def test_other_files_stay_what_they_are(tmp_path):
    assert names.find(str(tmp_path / "label_list.txt")) == tmp_path / "label_list.txt"
    assert str(names.find("ppcls/utils/unheard_of.txt")) == "ppcls/utils/unheard_of.txt"


def test_a_delimiter_may_stand_between_index_and_name(tmp_path):
    (tmp_path / "list.txt").write_text("0,a b\n1,c\n")
    assert read_class_names(tmp_path / "list.txt", 2, delimiter=",") == ["a b", "c"]
