import gc
import itertools
import multiprocessing
import subprocess
import sys

import cv2
import numpy as np
import paddle
import pytest
from support.processes import PATIENCE

from ppcls_compress.data import build_loader, synthetic_loader
from ppcls_compress.data.options import LoaderConfig
from ppcls_compress.data.transforms.pipeline import Pipeline
from ppcls_compress.errors import UserError

COUNT, CLASSES = 22, 4


@pytest.fixture
def images(tmp_path):
    """A folder of 22 noise images of 12x10 whose first pixel is the image's number, and its list."""
    rng = np.random.default_rng(0)
    for index in range(COUNT):
        image = rng.integers(0, 256, (10, 12, 3), np.uint8)
        image[0, 0] = index
        cv2.imwrite(str(tmp_path / f"{index}.png"), image)
    (tmp_path / "list.txt").write_text("".join(f"{index}.png {index % CLASSES}\n" for index in range(COUNT)))
    return tmp_path


def loader(
    folder,
    *,
    ops=(),
    workers=0,
    shared_memory=True,
    training=True,
    shard=True,
    seed=0,
    batch_size=4,
    shuffle=True,
    drop_last=False,
    **dataset,
):
    config = LoaderConfig.model_validate(
        {
            "dataset": {
                "image_root": str(folder),
                "cls_label_path": str(folder / "list.txt"),
                "transform_ops": ["DecodeImage", *ops],
                **dataset,
            },
            "sampler": {"batch_size": batch_size, "shuffle": shuffle, "drop_last": drop_last},
            "loader": {"num_workers": workers, "use_shared_memory": shared_memory},
        }
    )
    return build_loader(config, class_num=CLASSES, seed=seed, training=training, shard=shard)


def arrays(batches):
    return [(images.numpy(), labels.numpy()) for images, labels in batches]


def seen(batches):
    return [int(image[0, 0, 0]) for images, _ in batches for image in images.numpy()]


def assert_same(left, right):
    assert len(left) == len(right)
    for (images_a, labels_a), (images_b, labels_b) in zip(left, right, strict=True):
        np.testing.assert_array_equal(images_a, images_b)
        np.testing.assert_array_equal(labels_a, labels_b)


RANDOM_OPS = ({"RandCropImage": {"size": 8}}, "RandFlipImage", {"NormalizeImage": {"order": ""}})


def test_images_come_with_their_labels(images):
    batches = list(loader(images, shuffle=False))
    assert seen(batches) == list(range(COUNT))
    first, labels = batches[0]
    assert (first.shape, first.dtype, labels.dtype) == ([4, 3, 10, 12], paddle.float32, paddle.int64)
    assert [int(label) for _, labels in batches for label in labels] == [index % CLASSES for index in range(COUNT)]
    np.testing.assert_array_equal(first[1].numpy().transpose(1, 2, 0)[:, :, ::-1], cv2.imread(str(images / "1.png")))


@pytest.mark.parametrize("batch_ops", [(), [{"MixupOperator": {"alpha": 0.5}}, {"CutmixOperator": {"alpha": 0.5}}]])
def test_batches_do_not_depend_on_the_number_of_workers(images, batch_ops):
    per_workers = []
    for workers, shared_memory in ((0, True), (2, True), (3, False)):
        data = loader(
            images, ops=RANDOM_OPS, workers=workers, shared_memory=shared_memory, batch_transform_ops=batch_ops
        )
        data.set_epoch(1)
        per_workers.append(arrays(data))
    assert_same(per_workers[0], per_workers[1])
    assert_same(per_workers[0], per_workers[2])
    assert per_workers[0][0][1].shape == ((4, CLASSES) if batch_ops else (4,))


def test_epochs_and_seeds_differ_and_repeat(images):
    data = loader(images, ops=RANDOM_OPS)
    first = arrays(data)
    assert_same(first, arrays(data))
    data.set_epoch(1)
    second = arrays(data)
    assert any((a[0] != b[0]).any() for a, b in zip(first, second, strict=True))
    data.set_epoch(0)
    assert_same(first, arrays(data))
    assert (first[0][0] != arrays(loader(images, ops=RANDOM_OPS, seed=1))[0][0]).any()


def test_drawing_leaves_numpys_and_pythons_generators_alone(images):
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    list(loader(images, ops=RANDOM_OPS))
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_lengths(images):
    data = loader(images)
    assert (len(data), data.samples, len(list(data))) == (6, 22, 6)
    data = loader(images, drop_last=True)
    assert (len(data), data.samples, len(list(data))) == (5, 20, 5)


def test_ranks_share_the_images_and_one_that_is_not_sharded_sees_all(images, monkeypatch):
    alone = seen(loader(images))
    monkeypatch.setattr(paddle.distributed, "get_world_size", lambda: 2)
    parts = []
    for rank in range(2):
        monkeypatch.setattr(paddle.distributed, "get_rank", lambda rank=rank: rank)
        parts.append(seen(loader(images, training=False)))
    assert sorted(parts[0] + parts[1]) == list(range(COUNT))
    assert seen(loader(images, shard=False)) == alone


@pytest.mark.parametrize("workers", [0, 2])
def test_a_rank_without_images_gets_no_batches(images, monkeypatch, workers):
    monkeypatch.setattr(paddle.distributed, "get_world_size", lambda: COUNT + 1)
    monkeypatch.setattr(paddle.distributed, "get_rank", lambda: COUNT)
    data = loader(images, training=False, workers=workers)
    assert (len(data), data.samples, list(data)) == (0, 0, [])


def break_images(folder, *numbers):
    for number in numbers:
        path = folder / f"{number}.png"
        path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_truncated_image_stops_the_run_and_is_named(images, workers):
    break_images(images, 13)
    with pytest.raises(UserError) as error:
        list(loader(images, workers=workers))
    assert str(error.value) == f"{images}/13.png: the image is truncated: its end is missing"


@pytest.mark.parametrize("workers", [0, 2])
def test_in_training_the_next_good_image_replaces_a_bad_one(images, workers):
    break_images(images, 5, 6, 21)
    (images / "9.png").unlink()
    data = loader(images, workers=workers, shuffle=False, skip_bad_images=4)
    replaced = {5: 7, 6: 7, 9: 10, 21: 0}
    for _ in range(2):
        batches = list(data)
        assert seen(batches) == [replaced.get(index, index) for index in range(COUNT)]
        assert [int(label) for _, labels in batches for label in labels] == [
            replaced.get(index, index) % CLASSES for index in range(COUNT)
        ]
    assert sorted(data.bad_images) == sorted(str(images / f"{number}.png") for number in replaced)
    assert data.bad_images[str(images / "9.png")] == "cannot be read: No such file or directory"


@pytest.mark.parametrize("workers", [0, 2])
def test_in_evaluation_a_bad_image_is_left_out(images, workers):
    break_images(images, 2, 4, 5, 6, 7)
    data = loader(images, workers=workers, shuffle=False, training=False, skip_bad_images=5)
    assert seen(data) == [index for index in range(COUNT) if index not in (2, 4, 5, 6, 7)]
    assert len(data.bad_images) == 5


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("training", [False, True])
def test_more_bad_images_than_allowed_stop_the_run(images, workers, training):
    break_images(images, 2, 13, 14)
    data = loader(images, workers=workers, shuffle=False, training=training, skip_bad_images=2)
    with pytest.raises(UserError, match=r"14\.png: .*; that is unreadable image 3, skip_bad_images is 2"):
        list(data)


def test_when_every_image_is_bad_the_search_ends(images):
    break_images(images, *range(COUNT))
    with pytest.raises(UserError, match="skip_bad_images is 5"):
        list(loader(images, skip_bad_images=5))
    assert list(loader(images, skip_bad_images=COUNT)) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_a_transform_that_does_not_fit_an_image_names_it(images, workers):
    with pytest.raises(UserError, match=r"/\d+\.png: CropImage of 11x11 does not fit into an image of 12x10") as error:
        list(loader(images, ops=[{"CropImage": {"size": 11}}], workers=workers, skip_bad_images=3))
    assert "\n" not in str(error.value)


def test_images_of_different_sizes_are_refused(images):
    cv2.imwrite(str(images / "3.png"), np.zeros((5, 6, 3), np.uint8))
    with pytest.raises(UserError, match=r"3\.png: comes out of the transforms as \[3, 5, 6\], .* \[3, 10, 12\]"):
        list(loader(images, shuffle=False))


@pytest.mark.parametrize(("training", "split"), [(True, "Train"), (False, "Eval")])
def test_too_few_images_for_a_batch(images, monkeypatch, training, split):
    where = rf"DataLoader\.{split}\.sampler: 22 images on"
    with pytest.raises(UserError, match=f"{where} 1 processes do not fill one batch of 23"):
        loader(images, batch_size=23, drop_last=True, training=training)
    monkeypatch.setattr(paddle.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(paddle.distributed, "get_rank", lambda: 1)
    with pytest.raises(UserError, match=f"{where} 2 processes do not fill one batch of 12"):
        loader(images, batch_size=12, drop_last=True, training=training)


def test_in_evaluation_the_last_rank_may_lack_a_batch_that_others_have(images, monkeypatch):
    monkeypatch.setattr(paddle.distributed, "get_world_size", lambda: 3)
    monkeypatch.setattr(paddle.distributed, "get_rank", lambda: 2)
    assert len(loader(images, batch_size=8, drop_last=True, training=False)) == 0


def test_a_bug_in_a_worker_is_raised_with_its_traceback(images, monkeypatch):
    def broken(self, image, rng, **rest):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Pipeline, "labelled", broken)
    with pytest.raises(RuntimeError, match="a data worker failed: ZeroDivisionError: a bug") as error:
        list(loader(images, workers=1))
    assert "in broken" in error.value.__notes__[0]


def workers_alive():
    return [child for child in multiprocessing.active_children() if child.is_alive()]


def test_leaving_the_loop_early_ends_the_workers(images):
    data = loader(images, workers=2)
    assert len(list(itertools.islice(data, 2))) == 2
    assert not workers_alive()
    batches = iter(data)
    next(batches)
    assert len(workers_alive()) == 2
    batches.close()
    assert not workers_alive()


def test_workers_start_after_opencv_used_threads_here(images):
    big = np.zeros((3000, 3000, 3), np.uint8)
    cv2.GaussianBlur(cv2.resize(big, (2000, 2000), interpolation=cv2.INTER_CUBIC), (9, 9), 3)
    ops = [{"ResizeImage": {"size": 600, "interpolation": "bicubic"}}]
    assert len(list(loader(images, ops=ops, workers=2))) == 6


def test_workers_never_collect_garbage_of_the_parent(images, monkeypatch):
    # The destructor of a Paddle iterator that is garbage there would wait for threads that a worker does not have.
    def tell(self, image, rng, **rest):
        raise UserError("kept" if gc.get_freeze_count() > before else "collected")

    before = gc.get_freeze_count()
    monkeypatch.setattr(Pipeline, "labelled", tell)
    with pytest.raises(UserError, match=r"\.png: kept"):
        list(loader(images, workers=1))
    assert gc.get_freeze_count() == before


KILLED = """
import os, signal, sys
from ppcls_compress.data.options import LoaderConfig
from ppcls_compress.data import build_loader
from ppcls_compress.data.transforms.pipeline import Pipeline
from ppcls_compress.errors import UserError

class Killing(Pipeline):
    def labelled(self, image, rng=None, **rest):
        os.kill(os.getpid(), signal.SIGKILL)

Pipeline.labelled = Killing.labelled
root = sys.argv[1]
config = LoaderConfig.model_validate({
    "dataset": {"image_root": root, "cls_label_path": root + "/list.txt", "transform_ops": ["DecodeImage"]},
    "sampler": {"batch_size": 4}, "loader": {"num_workers": 2},
})
try:
    list(build_loader(config, class_num=4, seed=0, training=True))
except UserError as error:
    sys.exit(f"told: {error}")
"""


@pytest.mark.slow
def test_the_death_of_a_worker_is_told_in_one_line(images):
    done = subprocess.run([sys.executable, "-c", KILLED, str(images)], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert "told: a data worker process died" in done.stderr
    assert "Traceback" not in done.stderr


def test_synthetic_batches():
    data = synthetic_loader([3, 8, 6], class_num=5, batch_size=4, steps=3, seed=1)
    batches = arrays(data)
    assert (len(data), data.samples, data.bad_images) == (3, 12, {})
    assert all(images.shape == (4, 3, 8, 6) and images.dtype == np.float32 for images, _ in batches)
    assert all(labels.dtype == np.int64 and 0 <= labels.min() <= labels.max() < 5 for _, labels in batches)
    assert_same(batches, arrays(data))
    data.set_epoch(1)
    assert (arrays(data)[0][0] != batches[0][0]).any()
