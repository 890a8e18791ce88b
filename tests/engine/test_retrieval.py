"""Retrieval against a reference that goes through each query and image by itself."""

from dataclasses import dataclass

import numpy as np
import paddle
import pytest

from ppcls_compress.config.sections import Global
from ppcls_compress.engine import retrieval
from ppcls_compress.engine.retrieval import embed, retrieve
from ppcls_compress.errors import UserError
from ppcls_compress.metrics import METRICS

METRIC_LIST = [METRICS.get("Recallk")(topk=(1, 5)), METRICS.get("mAP")(), METRICS.get("mINP")()]
METRIC_LIST.append(METRICS.get("Precisionk")(topk=(1, 5)))


@dataclass
class Images:
    """Batches whose images are features already."""

    features: np.ndarray
    labels: np.ndarray
    batch: int = 7

    def __iter__(self):
        for start in range(0, len(self.labels), self.batch):
            part = slice(start, start + self.batch)
            yield paddle.to_tensor(self.features[part]), paddle.to_tensor(self.labels[part])


def drawn(count, seed, *, identities=6, cameras=None, width=8):
    rng = np.random.default_rng(seed)
    labels = rng.integers(identities, size=count)
    centers = np.random.default_rng(99).standard_normal((identities, width))
    features = (centers[labels] + 1.5 * rng.standard_normal((count, width))).astype("float32")
    if cameras:
        labels = np.stack([labels, rng.integers(cameras, size=count)], axis=1)
    return Images(features, labels)


def reference(query, gallery, distance):
    """All the metrics, from a list of the gallery sorted for each query by `distance`."""
    found = {name: [] for name in ("recall1", "recall5", "mAP", "mINP", "precision@1", "precision@5")}
    for q in range(len(query.labels)):
        row = query.labels[q] if query.labels.ndim == 2 else [query.labels[q]]
        ranked = []
        for g in range(len(gallery.labels)):
            other = gallery.labels[g] if gallery.labels.ndim == 2 else [gallery.labels[g]]
            if len(row) == 2 and row[0] == other[0] and row[1] == other[1]:
                continue  # the same camera saw it
            ranked.append((distance(q, g), g, row[0] == other[0]))
        ranked.sort()
        hits = [hit for _, _, hit in ranked]
        for k in (1, 5):
            found[f"precision@{k}"].append(sum(hits[:k]) / k)
        places = [place for place, hit in enumerate(hits, start=1) if hit]
        if not places:
            continue
        for k in (1, 5):
            found[f"recall{k}"].append(places[0] <= k)
        found["mAP"].append(np.mean([(index + 1) / place for index, place in enumerate(places)]))
        found["mINP"].append(len(places) / places[-1])
    return {name: float(np.mean(values)) for name, values in found.items()}


def unit(features):
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def cosine(query, gallery, prepare=unit):
    a, b = (prepare(images.features.astype("float64")) for images in (query, gallery))
    return lambda q, g: -(a[q] @ b[g])


@pytest.mark.parametrize("cameras", [None, 3])
@pytest.mark.parametrize("block", [1, 4, 64])
def test_metrics_equal_those_of_each_query_by_itself(cameras, block):
    query, gallery = drawn(30, 0, cameras=cameras), drawn(50, 1, cameras=cameras)
    found = retrieve(lambda x: x, query, gallery, METRIC_LIST, Global(sim_block_size=block))
    assert found == pytest.approx(reference(query, gallery, cosine(query, gallery)), abs=1e-6)
    assert 0.1 < found["recall1"] < 0.95


def test_a_query_without_an_image_of_its_identity_counts_for_precision_alone():
    query, gallery = drawn(30, 0, identities=6), drawn(50, 1, identities=4)
    assert set(query.labels) > set(gallery.labels)
    found = retrieve(lambda x: x, query, gallery, METRIC_LIST, Global())
    assert found == pytest.approx(reference(query, gallery, cosine(query, gallery)), abs=1e-6)


def test_one_list_is_queries_and_gallery():
    images = drawn(40, 2, cameras=3)
    found = retrieve(lambda x: x, images, None, METRIC_LIST, Global())
    assert found == pytest.approx(reference(images, images, cosine(images, images)), abs=1e-6)


@pytest.mark.parametrize(
    ("options", "prepare"),
    [
        ({"feature_normalize": False}, lambda x: x),
        ({"feature_binarize": "sign"}, np.sign),
        ({"feature_normalize": False, "feature_binarize": "round"}, lambda x: 2 * np.round(x) - 1),
    ],
)
def test_features_are_prepared_as_configured(options, prepare):
    query, gallery = drawn(30, 0), drawn(50, 1)
    for images in (query, gallery):
        images.features = 1 / (1 + np.exp(-images.features)) if "round" in options.values() else images.features
    found = retrieve(lambda x: x, query, gallery, METRIC_LIST, Global(**options))
    assert found == pytest.approx(reference(query, gallery, cosine(query, gallery, prepare)), abs=1e-6)


def test_the_output_that_is_compared_can_be_chosen():
    images = drawn(10, 0)
    outputs = lambda x: {"features": x, "backbone": -3 * x.reshape([len(x), 8, 1, 1])}  # noqa: E731
    found = embed(outputs, images, Global(retrieval_feature_from="backbone"))
    np.testing.assert_allclose(found.features, -unit(images.features), rtol=1e-5)


@pytest.mark.parametrize("cameras", [None, 3])
def test_processes_together_measure_what_one_does(monkeypatch, cameras):
    """Two shares, dealt out one image at a time; each process ranks every other block of queries."""
    query, gallery = drawn(31, 5, cameras=cameras), drawn(50, 6, cameras=cameras)
    alone = retrieve(lambda x: x, query, gallery, METRIC_LIST, Global(sim_block_size=4))

    def shares_of(images):
        return [Images(images.features[rank::2], images.labels[rank::2]) for rank in range(2)]

    def gathered(images):
        return [part for share in shares_of(images) for part in embedded_share(share)]

    def embedded_share(share):
        features = share.features / np.linalg.norm(share.features, axis=1, keepdims=True)
        return [(features.astype("float32"), share.labels.reshape(len(share.labels), -1))]

    partial = []
    for rank in range(2):
        waiting = iter([gathered(query), gathered(gallery)])
        monkeypatch.setattr(retrieval.distributed, "gather", lambda parts, waiting=waiting: next(waiting))
        monkeypatch.setattr(retrieval.distributed, "world_size", lambda: 2)
        monkeypatch.setattr(retrieval.paddle.distributed, "get_rank", lambda rank=rank: rank)
        monkeypatch.setattr(retrieval.distributed, "add_up", lambda sums: partial.append(sums) or sums)
        retrieve(lambda x: x, shares_of(query)[rank], shares_of(gallery)[rank], METRIC_LIST, Global(sim_block_size=4))
    total = {name: partial[0][name] + partial[1][name] for name in partial[0]}
    assert {name: total[f"{name} 0"] / total[f"{name} 1"] for name in alone} == pytest.approx(alone)


def k_reciprocal(features, count, k1=20, k2=6, share=0.3):
    """The distances of re-ranking as their authors wrote them down, with whole matrices."""
    x = features.astype("float64")
    distance = ((x[:, None] - x[None]) ** 2).sum(-1)
    distance = (distance / distance.max(axis=0)).T
    rank = np.argsort(distance, axis=1, kind="stable")
    weights = np.zeros_like(distance)
    for i in range(len(x)):

        def reciprocal(image, k):
            return {j for j in rank[image, : k + 1] if image in rank[j, : k + 1]}

        near = reciprocal(i, k1)
        expanded = set(near)
        for candidate in near:
            others = reciprocal(candidate, round(k1 / 2))
            if len(others & near) > 2 / 3 * len(others):
                expanded |= others
        members = sorted(expanded)
        weights[i, members] = np.exp(-distance[i, members]) / np.exp(-distance[i, members]).sum()
    weights = np.stack([weights[rank[i, :k2]].mean(axis=0) for i in range(len(x))])
    jaccard = np.zeros((count, len(x)))
    for i in range(count):
        for j in range(len(x)):
            shared = np.minimum(weights[i], weights[j]).sum()
            jaccard[i, j] = 1 - shared / (2 - shared)
    return (jaccard * (1 - share) + distance[:count] * share)[:, count:]


@pytest.mark.parametrize("cameras", [None, 3])
def test_re_ranking_equals_the_published_algorithm(cameras):
    query, gallery = drawn(25, 3, cameras=cameras), drawn(60, 4, cameras=cameras)
    distances = k_reciprocal(unit(np.concatenate([query.features, gallery.features])), 25)
    found = retrieve(lambda x: x, query, gallery, METRIC_LIST, Global(re_ranking=True, sim_block_size=10))
    assert found == pytest.approx(reference(query, gallery, lambda q, g: distances[q, g]), abs=1e-6)


def test_re_ranking_of_fewer_images_than_neighbours():
    query, gallery = drawn(3, 3), drawn(8, 4)
    distances = k_reciprocal(unit(np.concatenate([query.features, gallery.features])), 3)
    found = retrieve(lambda x: x, query, gallery, METRIC_LIST, Global(re_ranking=True))
    assert found == pytest.approx(reference(query, gallery, lambda q, g: distances[q, g]), abs=1e-6)


def test_what_cannot_be_measured_is_told():
    query, gallery = drawn(5, 0), drawn(5, 1)
    with pytest.raises(UserError, match="none of the images could be read"):
        retrieve(lambda x: x, Images(np.zeros((0, 8)), np.zeros(0)), gallery, METRIC_LIST, Global())
    with pytest.raises(UserError, match="features of 5 of 5 images are not finite"):
        retrieve(lambda x: x / 0, query, gallery, METRIC_LIST, Global())
    gallery.labels = gallery.labels + 100
    with pytest.raises(UserError, match="no image of DataLoader.Eval.Gallery is of an identity"):
        retrieve(lambda x: x, query, gallery, METRIC_LIST, Global())
