import numpy as np
import pytest

from ppcls_compress.data.samplers import DistributedBatchSampler, batch_rng, order_rng, sample_rng


def sampler(length=23, *, batch_size=4, shuffle=True, drop_last=False, seed=0, training=True, rank=0, world_size=1):
    options = DistributedBatchSampler(batch_size=batch_size, shuffle=shuffle, drop_last=drop_last)
    return options.build(range(length), seed=seed, training=training, rank=rank, world_size=world_size)


def flat(batches):
    return np.concatenate(batches).tolist() if batches else []


def test_every_image_once_in_order_or_shuffled():
    assert flat(sampler(shuffle=False).batches(0)) == list(range(23))
    shuffled = flat(sampler().batches(0))
    assert shuffled != list(range(23))
    assert sorted(shuffled) == list(range(23))


def test_the_order_depends_on_seed_and_epoch_and_nothing_else():
    np.random.seed(1)
    first = flat(sampler().batches(3))
    np.random.seed(2)
    assert flat(sampler().batches(3)) == first
    assert flat(sampler().batches(4)) != first
    assert flat(sampler(seed=1).batches(3)) != first
    assert flat(sampler(batch_size=7).batches(3)) == first


def test_drop_last_drops_the_incomplete_batch():
    assert [len(batch) for batch in sampler().batches(0)] == [4, 4, 4, 4, 4, 3]
    dropping = sampler(drop_last=True)
    assert [len(batch) for batch in dropping.batches(0)] == [4] * 5
    assert (len(dropping), dropping.samples) == (5, 20)


@pytest.mark.parametrize("length", [22, 23, 24, 3])
@pytest.mark.parametrize("drop_last", [False, True])
def test_training_ranks_take_equal_steps_and_cover_everything(length, drop_last):
    ranks = [sampler(length, rank=rank, world_size=2, drop_last=drop_last) for rank in range(2)]
    parts = [rank.batches(5) for rank in ranks]
    assert [len(batch) for batch in parts[0]] == [len(batch) for batch in parts[1]]
    assert [len(rank) for rank in ranks] == [len(part) for part in parts]
    seen = flat(parts[0]) + flat(parts[1])
    assert len(seen) == sum(rank.samples for rank in ranks)
    if not drop_last:
        assert set(seen) == set(range(length))
        assert len(seen) - length == length % 2


@pytest.mark.parametrize("length", [22, 23, 1, 0])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_evaluation_ranks_partition_the_images(length, world_size):
    ranks = [sampler(length, training=False, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert sorted(index for rank in ranks for index in flat(rank.batches(0))) == list(range(length))
    assert [rank.samples for rank in ranks] == [len(flat(rank.batches(0))) for rank in ranks]
    assert [len(rank) for rank in ranks] == [len(rank.batches(0)) for rank in ranks]


def test_two_ranks_see_together_what_one_with_double_batches_sees():
    alone = sampler(24, batch_size=8).batches(2)
    ranks = [sampler(24, batch_size=4, rank=rank, world_size=2).batches(2) for rank in range(2)]
    for number, batch in enumerate(alone):
        assert set(batch) == set(ranks[0][number]) | set(ranks[1][number])


def test_streams_of_random_numbers_do_not_meet():
    draws = [
        order_rng(0, 0),
        order_rng(0, 1),
        sample_rng(0, 0, 0),
        sample_rng(0, 0, 1),
        sample_rng(0, 1, 0),
        sample_rng(1, 0, 0),
        batch_rng(0, 0, 0, 0),
        batch_rng(0, 0, 0, 1),
        batch_rng(0, 0, 1, 0),
    ]
    assert len({rng.integers(2**62) for rng in draws}) == len(draws)
