"""Retrieval: each query ranks the gallery, and metrics say how early its identity comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import paddle

from ppcls_compress.config.sections import Global
from ppcls_compress.data import Loader
from ppcls_compress.engine import distributed
from ppcls_compress.engine.progress import track
from ppcls_compress.engine.re_ranking import ReRanker
from ppcls_compress.errors import UserError
from ppcls_compress.metrics.retrieval import RetrievalMetric, Sums
from ppcls_compress.outputs import Output, part, unit

Predict = Callable[[paddle.Tensor], Output]


@dataclass(frozen=True)
class Embedded:
    """Images as features.

    Attributes:
        features: float32 [N, D], normalized and made bits as configured.
        identities: int64 [N].
        cameras: int64 [N]; None where they are not known.
    """

    features: np.ndarray
    identities: np.ndarray
    cameras: np.ndarray | None


def retrieve(
    predict: Predict, query: Loader, gallery: Loader | None, metrics: Sequence[RetrievalMetric], options: Global
) -> dict[str, float]:
    """The metrics, as fractions, over all queries.

    Every process embeds its share of the images and ranks its share of the queries; the features of all images, and
    the similarities of `options.sim_block_size` queries, are held in memory.

    Args:
        predict: images [N, C, H, W] to features [N, D], or an output that has them.
        query: the images that are looked for.
        gallery: the images among which they are; None for the same.
        options: which features, and how they are compared.

    Raises:
        UserError: there are no images, features are not finite, or no query has an image of its identity.
    """
    queries = embed(predict, query, options)
    images = queries if gallery is None else embed(predict, gallery, options)
    if queries.features.shape[1] != images.features.shape[1]:
        raise UserError("queries and gallery have features of different widths")
    totals: dict[str, list[float]] = {}
    for relevant in _rankings(queries, images, options):
        for metric in metrics:
            for name, (value, count) in metric.sums(relevant).items():
                summed = totals.setdefault(name, [0.0, 0.0])
                summed[0] += value
                summed[1] += count
    return _means(totals, metrics)


def _means(totals: dict[str, list[float]], metrics: Sequence[RetrievalMetric]) -> dict[str, float]:
    nothing: Sums = {}  # a process may have no query, and names must be the same everywhere
    for metric in metrics:
        nothing.update(metric.sums(np.zeros((0, 1), bool)))
    added = distributed.add_up(
        {f"{name} {index}": totals.get(name, [0.0, 0.0])[index] for name in nothing for index in range(2)}
    )
    if not all(added[f"{name} 1"] for name in nothing):
        raise UserError(
            "retrieval: no image of DataLoader.Eval.Gallery is of an identity of DataLoader.Eval.Query (seen by "
            "another camera, where cameras are known)"
        )
    return {name: added[f"{name} 0"] / added[f"{name} 1"] for name in nothing}


def embed(predict: Predict, loader: Loader, options: Global) -> Embedded:
    """The features and labels of all images, in the order of their list, in every process.

    Raises:
        UserError: there are none, or features are not finite.
    """
    features, labels = [], []
    with paddle.no_grad():
        for images, own in track(loader, "computing features"):
            features.append(_compared(predict(images), options).astype("float32").numpy())
            labels.append(own.numpy().reshape(len(own), -1))
    shares = distributed.gather([(np.concatenate(features), np.concatenate(labels))] if features else [])
    if not shares:
        raise UserError("retrieval: none of the images could be read")
    # Images were dealt out one by one, so they are put back one of each share at a time.
    order = np.lexsort(
        (
            np.concatenate([np.full(len(share[0]), rank) for rank, share in enumerate(shares)]),
            np.concatenate([np.arange(len(share[0])) for share in shares]),
        )
    )
    found, known = (np.concatenate(parts)[order] for parts in zip(*shares, strict=True))
    broken = int((~np.isfinite(found)).any(axis=1).sum())
    if broken:
        raise UserError(
            f"retrieval: the features of {broken} of {len(found)} images are not finite; the weights are broken"
        )
    return Embedded(found, known[:, 0], known[:, 1] if known.shape[1] > 1 else None)


def _compared(output: Output, options: Global) -> paddle.Tensor:
    """Features [N, D] as they are compared."""
    tensor = isinstance(output, paddle.Tensor)
    features = (output if tensor else part(output, options.retrieval_feature_from)).flatten(1)
    if options.feature_normalize:
        features = unit(features)
    if options.feature_binarize == "round":
        return features.round() * 2.0 - 1.0
    return features.sign() if options.feature_binarize == "sign" else features


def _rankings(queries: Embedded, gallery: Embedded, options: Global) -> Iterator[np.ndarray]:
    """For each block of this process' queries, whether the ranked gallery is of their identity, bool [B, G].

    What the same camera saw of the same identity is no answer: it comes last and counts as another identity.
    """
    ranker = ReRanker(queries.features, gallery.features) if options.re_ranking else None
    size, count = options.sim_block_size, len(queries.features)
    starts = range(size * paddle.distributed.get_rank(), count, size * distributed.world_size())
    for start in starts:
        stop = min(start + size, count)
        if ranker is None:
            distances = -queries.features[start:stop] @ gallery.features.T
        else:
            distances = ranker.distances(start, stop)
        same = queries.identities[start:stop, None] == gallery.identities
        if queries.cameras is not None and gallery.cameras is not None:
            seen = same & (queries.cameras[start:stop, None] == gallery.cameras)
            distances, same = np.where(seen, np.inf, distances), same & ~seen
        order = np.argsort(distances, axis=1, kind="stable")
        yield np.take_along_axis(same, order, axis=1)
