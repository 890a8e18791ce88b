import json

import numpy as np
import pytest
from sklearn.model_selection import KFold

from ppcls_compress.data.faces import read_pairs
from ppcls_compress.engine.faces import judge, verify_faces
from ppcls_compress.engine.hooks.evaluation import describe
from ppcls_compress.errors import UserError


def write(folder, name, count=20, seed=0):
    """Pairs of 4 x 4 faces; those of one person are alike."""
    rng = np.random.default_rng(seed)
    same = rng.random(count) < 0.5
    first = rng.standard_normal((count, 3, 4, 4)).astype("float32")
    second = np.where(same[:, None, None, None], first, rng.standard_normal(first.shape))
    second = (second + 0.8 * rng.standard_normal(first.shape)).astype("float32")
    images = np.stack([first, second], axis=1).reshape(-1, 3, 4, 4)
    place = folder / name / "memfile"
    place.mkdir(parents=True)
    images.tofile(place / "mem_file.dat")
    (place / "mem_file.dat.conf").write_text(json.dumps({"shape": list(images.shape), "dtype": "float32"}))
    np.save(folder / f"{name}_list.npy", same)
    return images, same


def test_accuracy_is_that_of_thresholds_chosen_on_other_folds(tmp_path):
    images, same = write(tmp_path, "lfw", count=33)
    features = images.reshape(len(images), -1) + images[..., ::-1].reshape(len(images), -1)
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    distances = ((features[0::2] - features[1::2]) ** 2).sum(axis=1)
    thresholds, accuracies, chosen = np.arange(0, 4, 0.01), [], []
    for train, test in KFold(10).split(distances):
        right = [np.mean((distances[train] < threshold) == same[train]) for threshold in thresholds]
        chosen.append(thresholds[int(np.argmax(right))])
        accuracies.append(np.mean((distances[test] < chosen[-1]) == same[test]))
    found = verify_faces(lambda x: x.flatten(1), read_pairs(tmp_path), batch_size=8)
    assert found["lfw_test_acc"] == pytest.approx(np.mean(accuracies))
    assert found["lfw_test_best_threshold"] == pytest.approx(np.mean(chosen))
    assert found["all_test_acc"] == found["lfw_test_acc"] > 0.8


def test_the_mean_is_over_the_sets(tmp_path):
    write(tmp_path, "lfw", seed=1)
    write(tmp_path, "agedb_30", seed=2)
    found = verify_faces(lambda x: {"features": x.flatten(1)}, read_pairs(tmp_path), batch_size=100)
    assert list(found)[1::2] == ["agedb_30_test_acc", "lfw_test_acc"]
    assert found["all_test_acc"] == pytest.approx((found["lfw_test_acc"] + found["agedb_30_test_acc"]) / 2)


def test_perfect_distances():
    same = np.array([True, False] * 10)
    assert judge(np.where(same, 0.1, 3.0), same)[0] == 1


def test_files_that_do_not_fit_are_told(tmp_path):
    with pytest.raises(UserError, match=r"has none of agedb_30_list\.npy"):
        read_pairs(tmp_path)
    same = write(tmp_path, "lfw")[1]
    np.save(tmp_path / "lfw_list.npy", same[:-1])
    with pytest.raises(UserError, match=r"40 images, but lfw_list\.npy is of 19 pairs"):
        read_pairs(tmp_path)
    (tmp_path / "lfw" / "memfile" / "mem_file.dat").write_bytes(b"short")
    with pytest.raises(UserError, match=r"5 bytes, which are not \[40, 3, 4, 4\] of float32"):
        read_pairs(tmp_path)
    (tmp_path / "lfw" / "memfile" / "mem_file.dat").unlink()
    with pytest.raises(UserError, match="no such file; of a set that is stored by bcolz"):
        read_pairs(tmp_path)
    with pytest.raises(UserError, match="3 pairs are too few for 10 folds"):
        judge(np.zeros(3), np.zeros(3, bool))


def test_a_list_that_is_none_is_told(tmp_path):
    write(tmp_path, "lfw")
    file = tmp_path / "lfw_list.npy"
    for content in (b"", b"not numpy", file.read_bytes()[:-3]):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"lfw_list\.npy: not an array that NumPy has written"):
            read_pairs(tmp_path)
    np.save(file, np.array(["yes"] * 20))
    with pytest.raises(UserError, match="expected an array of True and False"):
        read_pairs(tmp_path)


@pytest.mark.parametrize(
    ("shape", "dtype"), [([-40, -3, 4, 4], "float32"), ([0, 3, 4, 4], "float32"), ([40, 3, 4, 4], "S4")]
)
def test_an_array_that_holds_no_images_is_told(tmp_path, shape, dtype):
    write(tmp_path, "lfw")
    file = tmp_path / "lfw" / "memfile" / "mem_file.dat"
    if 0 in shape:
        file.write_bytes(b"")
    file.with_name("mem_file.dat.conf").write_text(json.dumps({"shape": shape, "dtype": dtype}))
    with pytest.raises(UserError, match="bytes, which are not"):
        read_pairs(tmp_path)


def test_thresholds_of_distances_are_no_percentages():
    assert describe({"all_test_acc": 0.5, "lfw_test_best_threshold": 1.25}) == (
        "all_test_acc 50.00%, lfw_test_best_threshold 1.2500"
    )
