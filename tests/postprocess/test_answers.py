"""What is told of an image, beside PaddleClas' words for it."""

import numpy as np
import pytest

from ppcls_compress.postprocess import POST_PROCESSES
from ppcls_compress.postprocess.base import log_probabilities, scores_of


def answer(name, scores, names=None, **options):
    return POST_PROCESSES.get(name)(**options).answer(np.asarray(scores, np.float32), names)


def test_the_most_likely_classes_come_first():
    found = answer("Topk", [0.1, 0.6, 0.3], ["a", "b", "c"], topk=2)
    assert found == {"class_ids": [1, 2], "scores": [0.6, 0.3], "label_names": ["b", "c"]}
    assert answer("Topk", [0.1, 0.9], topk=5) == {"class_ids": [1, 0], "scores": [0.9, 0.1], "label_names": []}
    assert answer("DistillationPostProcess", [0.1, 0.9])["class_ids"] == [1]


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (0.2, {"class_ids": [0], "scores": [0.8], "label_names": ["nobody"]}),
        (0.5, {"class_ids": [1], "scores": [0.5], "label_names": ["someone"]}),
        (0.75, {"class_ids": [1], "scores": [0.75], "label_names": ["someone"]}),
    ],
)
def test_of_two_classes_a_threshold_decides(second, expected):
    options = {"threshold": 0.5, "label_0": "nobody", "label_1": "someone"}
    assert answer("ThreshOutput", [1 - second, second], **options) == expected


def test_of_more_classes_the_default_one_takes_what_is_not_likely_enough():
    names, options = ["a", "b", "c"], {"threshold": 0.5, "default_label_index": 2}
    assert answer("ThreshOutput", [0.6, 0.3, 0.1], names, **options)["label_names"] == ["a"]
    assert answer("ThreshOutput", [0.5, 0.3, 0.2], names, **options) == {
        "class_ids": [2],
        "scores": [0.2],
        "label_names": ["c"],
    }


def test_the_default_class_is_one_that_the_network_has():
    options = POST_PROCESSES.get("ThreshOutput")(default_label_index=3)
    assert options.misfit(4, multilabel=False) is None
    assert options.misfit(3, multilabel=False) == "default_label_index is 3, but there are 3 classes (Arch.class_num)"


def test_a_grade_is_rounded():
    assert answer("ScoreOutput", [5.4567], decimal_places=2) == {"scores": [5.46]}


def test_labels_that_reach_a_threshold():
    scores, names = [0.5, 0.49, 0.9], ["hat", "bag", "boots"]
    found = answer("MultiLabelThreshOutput", scores, names)
    assert found == {"class_ids": [0, 2], "scores": [0.5, 0.9], "label_names": ["hat", "boots"]}
    assert answer("MultiLabelThreshOutput", scores, threshold=0.95)["class_ids"] == []
    assert answer("MultiLabelTopk", scores, names, topk=3)["label_names"] == ["boots", "hat"]
    assert answer("MultiLabelTopk", scores, names)["label_names"] == ["boots"]


def person(**scores):
    found = np.zeros(26)
    for name, score in scores.items():
        found[int(name[1:])] = score
    return found


def test_a_person_in_words():
    scores = person(s0=0.6, s1=0.31, s2=0.9, s3=0.1, s5=0.7, s6=0.51, s11=0.4, s14=0.2, s16=0.6, s18=0.55, s20=0.9)
    found = answer("PersonAttribute", scores)
    assert found["attributes"] == [
        "Male",
        "Age18-60",
        "Front",
        "Glasses: True",
        "Hat: True",
        "HoldObjectsInFront: False",
        "ShoulderBag",
        "Upper: ShortSleeve UpperLogo UpperPlaid",
        "Lower:  Trousers",
        "No boots",
    ]
    assert np.flatnonzero(found["output"]).tolist() == [0, 1, 2, 5, 6, 16, 20]


def test_another_person_in_words():
    scores = person(s2=0.4, s3=0.5, s8=0.6, s13=0.7, s14=0.51, s15=0.5, s18=0.61, s21=0.2, s22=0.8, s25=0.1)
    found = answer("PersonAttribute", scores, glasses_threshold=0.2)
    assert found["attributes"] == [
        "Female",
        "AgeOver60",
        "Back",
        "Glasses: False",
        "Hat: False",
        "HoldObjectsInFront: True",
        "No bag",
        "Upper: LongSleeve",
        "Lower:  LowerStripe Skirt&Dress",
        "Boots",
    ]
    strict = answer("PersonAttribute", scores, threshold=0.9)
    assert strict["attributes"][0] == "Male"
    assert strict["output"] == found["output"]


def test_a_vehicle_in_words():
    scores = np.zeros(19)
    scores[3], scores[11] = 0.75, 0.5
    found = answer("VehicleAttribute", scores)
    assert found["attributes"] == "Color: (gray, prob: 0.75), Type: (suv, prob: 0.5)"
    assert np.flatnonzero(found["output"]).tolist() == [3]
    assert answer("VehicleAttribute", scores, color_threshold=0.8, type_threshold=0.6)["attributes"] == (
        "Color unknown, Type unknown"
    )


def test_a_table_in_words():
    found = answer("TableAttribute", [0.6, 0.4, 0.6, 0.4, 0.6, 0.4], obstruction_threshold=0.7)
    assert found == {
        "attributes": ["Scanned", "Numerous", "Black-and-White", "Blurry", "With-Obstacles", "Tilted"],
        "output": [1, 0, 1, 0, 0, 0],
    }
    assert answer("TableAttribute", [0.4, 0.6, 0.4, 0.6, 0.6, 0.6])["attributes"] == [
        "Photo",
        "Little",
        "Multicolor",
        "Clear",
        "Without-Obstacles",
        "Horizontal",
    ]


def test_scores_come_from_logits_as_they_are_read():
    logits = np.array([[1.0, -2.0, 0.5]])
    assert scores_of(logits, "softmax") == pytest.approx(np.exp(logits) / np.exp(logits).sum())
    assert scores_of(logits, "sigmoid") == pytest.approx(1 / (1 + np.exp(-logits)))
    assert scores_of(logits, "none") is logits
    assert log_probabilities(np.array([[1e4, 0.0]])).tolist() == [[0.0, -1e4]]


@pytest.mark.parametrize(
    ("name", "class_num", "multilabel", "reason"),
    [
        ("PersonAttribute", 25, True, "PersonAttribute reads 26 scores, but there are 25 (Arch.class_num)"),
        ("TableAttribute", 6, False, "TableAttribute tells several labels of an image, but Global.use_multilabel is F"),
        ("ThreshOutput", 2, True, "ThreshOutput tells one class of an image, but Global.use_multilabel is True"),
        ("VehicleAttribute", 19, True, None),
        ("Topk", 19, True, None),
        ("Topk", 19, False, None),
    ],
)
def test_a_network_that_does_not_fit_is_told(name, class_num, multilabel, reason):
    found = POST_PROCESSES.get(name)().misfit(class_num, multilabel=multilabel)
    assert found is None if reason is None else found.startswith(reason)
