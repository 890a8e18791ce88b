import numpy as np
import pytest

from ppcls_compress.data import BadImageError
from ppcls_compress.engine.infer import check_finite, classify, read_prepared
from ppcls_compress.errors import UserError
from ppcls_compress.postprocess import Topk


def answers(scores, tmp_path, **options):
    paths = [tmp_path / f"{index}.png" for index in range(len(scores))]
    for path in paths:
        path.write_bytes(b"a picture")
    options = {"post_process": Topk(topk=2), "class_names": None, "batch_size": 2, **options}
    batches = iter(np.array_split(np.asarray(scores, np.float32), range(2, len(scores), 2)))
    return list(classify(lambda images: next(batches), paths, lambda content: np.zeros((3, 2, 2)), **options))


def test_best_class_first_and_names_where_known(tmp_path):
    found = answers([[0.1, 0.9, 0], [0.5, 0.2, 0.3], [0, 0, 1]], tmp_path, class_names="abc")
    assert [answer["class_ids"] for answer in found] == [[1, 0], [0, 2], [2, 0]]
    assert found[1]["scores"] == [0.5, 0.3]
    assert found[2]["label_names"] == ["c", "a"]
    assert answers([[1, 0]], tmp_path)[0]["label_names"] == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_no_answer(tmp_path, value):
    with pytest.raises(UserError, match=r"the network's scores are not finite; its weights are broken"):
        answers([[0.1, 0.9], [value, 0]], tmp_path)
    assert check_finite(np.zeros(2)).tolist() == [0, 0]


def prepared(content):
    """A pipeline: a picture is its length in pixels wide; an empty one is damaged."""
    if content == b"damaged":
        raise BadImageError("not an image")
    return np.zeros((3, 2, len(content)), np.float32)


def pictures(tmp_path, *contents):
    paths = [tmp_path / f"{index}.png" for index in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


OPTIONS = {"post_process": Topk(), "class_names": None, "batch_size": 2}


def scores(images):
    return np.eye(len(images), 3)


def test_a_broken_image_is_told_and_the_others_are_answered(tmp_path):
    paths = pictures(tmp_path, b"aa", b"damaged", b"bb", b"cccc", b"dd", b"")
    told = []
    found = list(classify(scores, paths, prepared, failed=told.append, **OPTIONS))
    assert [answer["file_name"] for answer in found] == [str(paths[index]) for index in (0, 2, 4)]
    assert [answer["class_ids"] for answer in found] == [[0], [1], [0]]
    assert [str(error) for error in told] == [
        f"{paths[1]}: not an image",
        f"{paths[3]}: the transforms make an image of [3, 2, 4] of it, [3, 2, 2] is needed; end them with a crop or a "
        "resize to one size",
        f"{paths[5]}: the file is empty",
    ]


def test_nobody_to_tell_means_that_the_first_broken_image_is_an_error(tmp_path):
    paths = pictures(tmp_path, b"aa", b"damaged", b"bb")
    with pytest.raises(BadImageError, match=r"1\.png: not an image"):
        list(classify(scores, paths, prepared, **OPTIONS))


def test_the_shape_that_the_network_takes_counts_from_the_first_image_on(tmp_path):
    paths, told = pictures(tmp_path, b"aaa", b"bb"), []
    found = list(classify(scores, paths, prepared, image_shape=(3, 2, 2), failed=told.append, **OPTIONS))
    assert [answer["file_name"] for answer in found] == [str(paths[1])]
    assert len(told) == 1
    with pytest.raises(BadImageError, match=r"0\.png: the transforms make an image of \[3, 2, 3\]"):
        read_prepared(paths[0], prepared, image_shape=(3, 2, 2))
