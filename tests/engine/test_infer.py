import numpy as np
import pytest

from ppcls_compress.engine.infer import check_finite, classify
from ppcls_compress.errors import UserError


def answers(scores, tmp_path, **options):
    paths = [tmp_path / f"{index}.png" for index in range(len(scores))]
    for path in paths:
        path.write_bytes(b"a picture")
    options = {"topk": 2, "class_names": None, "batch_size": 2, **options}
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
