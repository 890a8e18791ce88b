import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from ppcls_compress.data.labels import LabelledImages
from ppcls_compress.data.samplers import SAMPLERS
from ppcls_compress.declare import named
from ppcls_compress.errors import UserError

COUNTS = [5, 9, 4, 1, 8, 2]  # images of identities 0 to 5
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(6), COUNTS))
CAMERAS = np.arange(len(LABELS)) % 2


def images(cameras=False):
    labels = np.stack([LABELS, CAMERAS], axis=1) if cameras else LABELS
    return LabelledImages([str(index) for index in range(len(LABELS))], labels)


def sampler(name, **options):
    return TypeAdapter(named(SAMPLERS)).validate_python({"name": name, **options})


def built(name, *, cameras=False, seed=0, rank=0, world_size=1, **options):
    made = sampler(name, **options)
    return made.build(images(cameras), seed=seed, training=True, rank=rank, world_size=world_size)


BY_IDENTITY = [
    ("PKSampler", {"sample_per_id": 4}),
    ("DistributedRandomIdentitySampler", {"num_instances": 4}),
    ("NaiveIdentityBatchSampler", {"num_instances": 4}),
]


@pytest.mark.parametrize(("name", "options"), BY_IDENTITY)
def test_a_batch_has_groups_of_images_of_different_identities(name, options):
    made = built(name, batch_size=12, **options)
    batches = made.batches(epoch=0)
    assert len(batches) == len(made) > 0
    assert made.samples == 12 * len(made)
    for batch in batches:
        groups = LABELS[batch].reshape(3, 4)
        assert (groups == groups[:, :1]).all()
        assert len(set(groups[:, 0])) == 3


@pytest.mark.parametrize(("name", "options"), [*BY_IDENTITY, ("DomainShuffleBatchSampler", {"num_instances": 4})])
def test_batches_depend_on_seed_epoch_and_rank_alone(name, options):
    def batches(seed=0, rank=0, epoch=0):
        made = built(name, cameras=True, batch_size=16, seed=seed, rank=rank, **options)
        made.batches(epoch + 5)  # what came before does not matter
        return np.stack(made.batches(epoch)).tolist()

    assert batches() == batches()
    assert batches() not in (batches(seed=1), batches(rank=1), batches(epoch=1))


def test_identities_are_drawn_by_their_images_or_alike():
    """4,000 batches of two identities each; the first of a batch has exactly the given probability."""
    for method, expected in (("sample_avg_prob", np.array(COUNTS) / sum(COUNTS)), ("id_avg_prob", np.full(6, 1 / 6))):
        made = built("PKSampler", batch_size=2, sample_per_id=1, sample_method=method)
        found = [LABELS[batch[0]] for epoch in range(290) for batch in made.batches(epoch)]
        share = np.bincount(found, minlength=6) / len(found)
        np.testing.assert_allclose(share, expected, atol=4 * np.sqrt(0.25 / len(found)))


def test_ranges_of_identities_can_be_drawn_more_often_or_never():
    options = {"sample_method": "id_avg_prob", "id_list": [0, 1, 4, 5], "ratio": [4, 0]}
    made = built("PKSampler", batch_size=2, sample_per_id=1, **options)
    found = [LABELS[batch[0]] for epoch in range(290) for batch in made.batches(epoch)]
    share = np.bincount(found, minlength=6) / len(found)
    np.testing.assert_allclose(share, [0.4, 0.4, 0.1, 0.1, 0, 0], atol=4 * np.sqrt(0.25 / len(found)))


def test_images_come_again_only_where_an_identity_has_too_few():
    for batch in built("PKSampler", batch_size=12, sample_per_id=4).batches(0):
        for group in batch.reshape(3, 4):
            assert len(set(group)) == min(4, COUNTS[LABELS[group[0]]]) or COUNTS[LABELS[group[0]]] < 4


def test_pk_batches_are_as_many_as_the_images_fill_over_the_ranks():
    options = {"batch_size": 4, "sample_per_id": 2}
    assert len(built("PKSampler", **options)) == 29 // 4
    assert len(built("PKSampler", drop_last=False, **options)) == 8
    assert len(built("PKSampler", world_size=2, **options)) == 15 // 4


def test_a_pass_of_the_identity_sampler_repeats_no_image_of_an_identity_that_has_enough():
    """Groups of 4: one of identity 0, two of 1, one of 2, one drawn of 3, two of 4, one drawn of 5."""
    made = built("DistributedRandomIdentitySampler", batch_size=8, num_instances=4)
    assert len(made) == 4
    seen = np.concatenate(made.batches(0)[:3])
    for identity in (0, 1, 2, 4):
        own = seen[LABELS[seen] == identity]
        assert len(set(own)) == len(own)


def test_an_epoch_can_have_a_given_number_of_batches():
    made = built("DistributedRandomIdentitySampler", batch_size=8, num_instances=4, max_iters=50)
    assert len(made.batches(0)) == len(made) == 50


def test_every_camera_has_as_many_identities_in_a_batch():
    made = built("DomainShuffleBatchSampler", cameras=True, batch_size=16, num_instances=4)
    for batch in made.batches(0):
        assert CAMERAS[batch].tolist() == [0] * 8 + [1] * 8
        groups = LABELS[batch].reshape(4, 4)
        assert (groups == groups[:, :1]).all()
        assert len(set(groups[:2, 0])) == len(set(groups[2:, 0])) == 2


def test_cameras_must_be_known():
    with pytest.raises(UserError, match="tells the camera of each image, such as Market1501"):
        built("DomainShuffleBatchSampler", batch_size=16, num_instances=4)


def test_too_few_identities_are_told():
    with pytest.raises(UserError, match="PKSampler: a batch has 16 identities, and the list has 6"):
        built("PKSampler", batch_size=64, sample_per_id=4)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"name": "PKSampler", "batch_size": 10, "sample_per_id": 4},
            "batch_size 10 is no multiple of sample_per_id 4",
        ),
        ({"name": "PKSampler", "batch_size": 8, "sample_per_id": 4, "id_list": [0, 1]}, "two identities for each"),
        ({"name": "NaiveIdentityBatchSampler", "batch_size": 9, "num_instances": 2}, "no multiple of num_instances"),
        ({"name": "PkSampler", "batch_size": 9}, "unknown sampler 'PkSampler'; did you mean 'PKSampler'"),
    ],
)
def test_options_that_cannot_work_are_refused(options, told):
    with pytest.raises(ValidationError, match=told):
        sampler(**options)
