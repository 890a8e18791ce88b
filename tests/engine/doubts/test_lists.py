import numpy as np
import pytest
from support.doubting import configured

from ppcls_compress.data.labels import LabelledImages
from ppcls_compress.data.options import QueryGallery
from ppcls_compress.engine.doubts.lists import about_evaluation, about_training, check_numbering
from ppcls_compress.errors import ConfigError


def images(labels, *, names="abcdefgh", numbering=None):
    found = np.array(labels, np.int64)
    return LabelledImages(list(names[: len(found)]), found, None if numbering is None else np.array(numbering))


def about(tmp_path, train, evaluated=None):
    return list(about_training(configured(tmp_path), train, evaluated))


def test_labels_that_contradict_each_other_are_told(tmp_path):
    assert about(tmp_path, images([0, 1, 1], names="aba")) == [
        "DataLoader.Train: 1 lines give an image another label than an earlier line, for one a"
    ]
    assert about(tmp_path, images([0, 1, 0], names="aba")) == []


def test_images_that_are_trained_on_and_evaluated_are_told(tmp_path):
    assert about(tmp_path, images([0, 1, 2]), images([2, 1], names="cx")) == [
        "DataLoader.Eval: 1 of 2 images are in DataLoader.Train too, for one c; the score will be too good"
    ]
    assert about(tmp_path, images([0, 1, 2]), images([2, 1], names="xy")) == []


def test_a_sorted_list_that_is_not_shuffled_is_told(tmp_path):
    config = configured(tmp_path, "DataLoader.Train.sampler.shuffle=False")
    (line,) = about_training(config, images([0, 0, 1, 2]), None)
    assert line.startswith("DataLoader.Train.sampler.shuffle: is False, and the list goes class by class")
    assert list(about_training(config, images([0, 1, 0, 2]), None)) == []
    assert list(about_training(config, images([1, 1, 1]), None)) == []


def test_images_that_no_score_counts_are_told(tmp_path):
    config = configured(tmp_path, "DataLoader.Eval.sampler={batch_size: 4, drop_last: True}")
    assert list(about_evaluation(config, images([0] * 6))) == [
        "DataLoader.Eval.sampler.drop_last: leaves 2 of 6 images out of every score"
    ]
    assert list(about_evaluation(config, images([0] * 8))) == []


def test_lists_that_number_their_labels_differently_are_refused():
    train = images([0, 1, 2], numbering=[3, 7, 9])
    with pytest.raises(ConfigError, match=r"class 0 is label 7 of DataLoader\.Eval and label 3 of DataLoader\.Train"):
        check_numbering(train, images([0, 1], numbering=[7, 9]))
    with pytest.raises(ConfigError, match=r"class 1 is label 1 of DataLoader\.Eval and label 7 of DataLoader\.Train"):
        check_numbering(train, images([1]))
    with pytest.raises(ConfigError, match=r"class 0 is label 1 of DataLoader\.Eval and label 0"):
        check_numbering(images([0, 1]), images([0], numbering=[1]))


def test_lists_whose_labels_mean_the_same_are_taken():
    check_numbering(images([0, 1, 2], numbering=[3, 7, 9]), images([0, 1], numbering=[3, 7]))
    check_numbering(images([0, 1], numbering=[0, 1]), images([1, 0]))
    check_numbering(images([0, 1]), images([2]))  # a class that training never sees is another matter


@pytest.mark.parametrize("parts", [("Query", "Gallery"), ("Query",), ("Gallery",)])
def test_queries_that_find_themselves_are_told(tmp_path, parts):
    split = configured(tmp_path).DataLoader.Eval
    queries = LabelledImages(["a", "b"], np.array([0, 1]))
    paired = QueryGallery(**dict.fromkeys(parts, split))
    (line,) = of_split(tmp_path, paired, queries)
    assert "each finds itself first, as in PaddleClas, and recall1 is 100% whatever the network is" in line
    assert not of_split(tmp_path, paired, LabelledImages(["a", "b"], np.array([[0, 1], [1, 1]])))
    dataset = split.dataset.model_copy(update={"cls_label_path": "other.txt"})
    gallery = split.model_copy(update={"dataset": dataset})
    assert not of_split(tmp_path, QueryGallery(Query=split, Gallery=gallery), queries)


def of_split(folder, split, evaluated):
    config = configured(folder)
    loaders = config.DataLoader.model_copy(update={"Eval": split})
    return list(about_evaluation(config.model_copy(update={"DataLoader": loaders}), evaluated))
