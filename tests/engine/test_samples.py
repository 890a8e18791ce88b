import numpy as np
import pytest
from support.project import make_project

from ppcls_compress.config.load import load_config
from ppcls_compress.engine import samples


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("samples"))


FLIP = (
    "DataLoader.Train.dataset.transform_ops=[{DecodeImage: {to_rgb: False}}, {RandFlipImage: {flip_code: 1}}, "
    "{NormalizeImage: {mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25], order: ''}}]"
)


def test_they_are_drawn_from_the_whole_list_and_always_the_same(project):
    config = load_config(project)
    first, again = (samples.from_split(config, ["Eval", "Train"], 6) for _ in range(2))
    assert str(first) == "6 images of DataLoader.Eval"
    np.testing.assert_array_equal(first.images, again.images)
    assert list(first.labels) != [0, 1, 2, 0, 1, 2]  # the order of the list
    other = samples.from_split(load_config(project, ["Global.seed=1"]), ["Eval"], 6)
    assert not np.array_equal(first.images, other.images)


def test_as_many_as_there_are_in_batches(project):
    found = samples.from_split(load_config(project), ["Eval"], 100)
    assert found.images.shape == (12, 3, 8, 8)
    assert np.bincount(found.labels).tolist() == [4, 4, 4]
    assert [len(batch) for batch in found.batches] == [8, 4]
    np.testing.assert_array_equal(np.concatenate(found.batches), found.images)


@pytest.mark.parametrize(
    ("overrides", "how"),
    [
        ([FLIP], ", prepared as DataLoader.Eval says"),
        ([FLIP, "DataLoader.Eval=null"], ", prepared as Infer.transforms says"),
        ([FLIP, "DataLoader.Eval=null", "Infer=null"], ", augmented as DataLoader.Train says"),
    ],
)
def test_training_images_are_not_augmented_where_it_can_be_helped(project, overrides, how):
    found = samples.from_split(load_config(project, overrides), ["Train"], 24)
    assert str(found) == f"24 images of DataLoader.Train{how}"
    plain = samples.from_split(load_config(project), ["Train"], 24)
    assert np.array_equal(found.images, plain.images) == ("augmented" not in how)
    np.testing.assert_array_equal(found.labels, plain.labels)


def test_without_files_there_are_none_but_random_ones(project):
    config = load_config(project, ["DataLoader.Eval.dataset.image_root=/nowhere", "DataLoader.Train=null"])
    assert samples.from_split(config, ["Train", "Eval"], 4) is None
    noise = samples.random(config, 5)
    assert (noise.images.shape, noise.images.dtype, noise.labels) == ((5, 3, 8, 8), np.float32, None)
    np.testing.assert_array_equal(noise.images, samples.random(config, 5).images)


def test_calibration_batches_are_not_augmented(project):
    size = "DataLoader.Train.sampler.batch_size=5"
    augmented, plain = (
        [batch.numpy() for batch in samples.still_batches(load_config(project, [*flips, size]), 3)]
        for flips in ([FLIP], [])
    )
    assert [len(batch) for batch in augmented] == [5, 5, 5]
    np.testing.assert_array_equal(np.concatenate(augmented), np.concatenate(plain))
    drawn = samples.from_split(load_config(project, [size]), ["Train"], 15)
    np.testing.assert_array_equal(np.concatenate(plain), drawn.images)
    assert len(list(samples.still_batches(load_config(project, [size]), 100))) == 5
