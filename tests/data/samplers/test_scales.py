"""Batches of several sizes, and repeated augmentation."""

import numpy as np
import pytest
from pydantic import ValidationError
from support.project import write_images

from ppcls_compress.data import build_loader
from ppcls_compress.data.options import LoaderConfig
from ppcls_compress.data.samplers.repeated import RASampler
from ppcls_compress.data.samplers.scales import MultiScaleSampler
from ppcls_compress.errors import UserError


def scaled(length=101, *, training=True, rank=0, world_size=1, seed=0, **options):
    options = {"scales": [64, [32, 96], 100], "first_bs": 6, **options}
    built = MultiScaleSampler.model_validate(options)
    return built.build(range(length), seed=seed, training=training, rank=rank, world_size=world_size)


def test_a_smaller_size_has_more_images():
    """Widths and heights are rounded down to multiples of 32; a batch has no more than 6 * 64 * 64 pixels."""
    options = MultiScaleSampler(scales=[64, (32, 96), 100, 20], first_bs=6)
    assert options.choices() == [(64, 64, 6), (32, 96, 8), (96, 96, 2), (32, 32, 24)]
    assert MultiScaleSampler(scales=[100, 64], first_bs=6, is_training=False).choices() == [(100, 100, 6)]


def test_all_sizes_are_drawn_and_are_the_same_on_each_rank_and_in_each_epoch():
    first, second = (scaled(rank=rank, world_size=2) for rank in range(2))
    sizes = [first.size(number) for number in range(len(first))]
    assert sizes == [second.size(number) for number in range(len(second))]
    assert set(sizes) == {(64, 64), (32, 96), (96, 96)}
    counts = {(64, 64): 6, (32, 96): 8, (96, 96): 2}
    for epoch in (0, 1):
        assert [len(batch) for batch in first.batches(epoch)] == [counts[size] for size in sizes]
    assert [scaled(seed=1).size(n) for n in range(5)] != [scaled(seed=2).size(n) for n in range(5)]


@pytest.mark.parametrize("world_size", [1, 3])
def test_an_epoch_has_every_image_and_fills_the_last_batch(world_size):
    ranks = [scaled(rank=rank, world_size=world_size) for rank in range(world_size)]
    batches = [rank.batches(4) for rank in ranks]
    seen = np.concatenate([np.concatenate(each) for each in batches])
    assert set(seen) == set(range(101))
    assert len(seen) == sum(rank.samples for rank in ranks)
    assert len({len(each) for each in batches}) == 1
    assert not np.array_equal(ranks[0].batches(4)[0], ranks[0].batches(5)[0])


@pytest.mark.parametrize(("length", "world_size"), [(101, 1), (7, 2), (1, 2)])
def test_evaluation_repeats_nothing(length, world_size):
    ranks = [
        scaled(length, training=False, is_training=False, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    parts = [rank.batches(0) for rank in ranks]
    assert sorted(index for part in parts for batch in part for index in batch) == list(range(length))
    assert [len(rank) for rank in ranks] == [len(part) for part in parts]
    assert [rank.samples for rank in ranks] == [sum(map(len, part)) for part in parts]


def split(folder, **sampler):
    lines = write_images(folder / "train", 9, seed=0)
    (folder / "list.txt").write_text("\n".join(lines))
    dataset = {
        "name": "MultiScaleDataset",
        "image_root": str(folder),
        "cls_label_path": str(folder / "list.txt"),
        "transform_ops": ["DecodeImage", {"RandCropImage": {"size": 8, "scale": [0.5, 1]}}],
    }
    return {"dataset": dataset, "sampler": {"name": "MultiScaleSampler", "scales": [8, 16], "first_bs": 4, **sampler}}


def test_images_come_in_the_size_of_their_batch(tmp_path):
    config = LoaderConfig.model_validate(split(tmp_path, divided_factor=8))
    loader = build_loader(config, class_num=3, seed=0, training=True)
    shapes = [tuple(images.shape) for images, _ in loader]
    assert set(shapes) == {(4, 3, 8, 8), (1, 3, 16, 16)}
    assert not loader.of_one_size
    assert config.sampler.batch_size == 4


def test_sizes_need_a_data_set_that_follows_them(tmp_path):
    data = split(tmp_path)
    data["dataset"]["transform_ops"] = ["DecodeImage"]
    with pytest.raises(ValidationError, match="needs RandCropImage, ResizeImage or CropImage"):
        LoaderConfig.model_validate(data)
    data = split(tmp_path / "other")
    data["dataset"]["name"] = "ImageNetDataset"
    with pytest.raises(ValidationError, match="must be MultiScaleDataset"):
        LoaderConfig.model_validate(data)


def repeated(length=60, *, rank=0, world_size=1, **options):
    options = RASampler(**{"batch_size": 8, "shuffle": True, "selected_round": 16, **options})
    return options.build(range(length), seed=0, training=True, rank=rank, world_size=world_size)


@pytest.mark.parametrize("world_size", [1, 3])
def test_images_that_take_part_do_so_several_times(world_size):
    ranks = [repeated(rank=rank, world_size=world_size) for rank in range(world_size)]
    parts = [np.concatenate(rank.batches(0)) for rank in ranks]
    assert [len(part) for part in parts] == [48 // world_size] * world_size
    counts = np.bincount(np.concatenate(parts), minlength=60)
    assert np.bincount(counts).tolist() == [44, 0, 0, 16]
    if world_size == 3:
        assert all(len(set(part)) == 16 for part in parts)  # each rank has its own version of each image
    assert [len(rank) for rank in ranks] == [len(rank.batches(0)) for rank in ranks]
    assert not np.array_equal(parts[0], np.concatenate(ranks[0].batches(1)))


def test_an_incomplete_last_batch_can_be_dropped():
    assert [len(batch) for batch in repeated(batch_size=20).batches(0)] == [20, 20, 8]
    assert [len(batch) for batch in repeated(batch_size=20, drop_last=True).batches(0)] == [20, 20]


def test_a_list_that_is_shorter_than_a_round_is_told():
    with pytest.raises(UserError, match=r"RASampler: .* selected_round \(256\) images, and there are 60;"):
        repeated(selected_round=256)


@pytest.mark.parametrize(
    "sampler",
    [
        {"name": "RASampler", "batch_size": 9, "num_repeats": 3, "selected_round": 9},
        {"name": "RASampler", "batch_size": 2, "num_repeats": 3, "selected_round": 9},
        {"name": "PKSampler", "batch_size": 8, "sample_per_id": 4},
    ],
)
def test_copies_of_an_image_come_out_another_way_each_time(tmp_path, sampler):
    """Three pictures of each class; PKSampler takes four, RASampler takes some three times, also over two batches."""
    data = split(tmp_path) | {"sampler": sampler}
    data["dataset"]["name"] = "ImageNetDataset"
    config = LoaderConfig.model_validate(data)
    crops = [
        [images.numpy() for images, _ in build_loader(config, class_num=3, seed=0, training=True)] for _ in range(2)
    ]
    first, again = map(np.concatenate, crops)
    assert np.array_equal(first, again)
    assert len({image.tobytes() for image in first}) == len(first)
