"""What an exported network is worth: its answers to images in its own runtime, and what it costs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppcls_compress import io
from ppcls_compress.config.schema import Config
from ppcls_compress.data import build_loader
from ppcls_compress.deploy import artifact, formats
from ppcls_compress.deploy.measure import latency
from ppcls_compress.deploy.measure.layers import Layer, Table, layers_of
from ppcls_compress.deploy.predictor import Predictor
from ppcls_compress.engine import assemble
from ppcls_compress.errors import UserError
from ppcls_compress.metrics import Rows
from ppcls_compress.metrics.topk import TopkAcc
from ppcls_compress.search.bounds import ALPHA, levels, paired_bound, resampled_bound

_ROUNDS = 90


@dataclass(frozen=True)
class Costs:
    """What a file costs.

    Attributes:
        bytes: of its network files, without description and record.
        params: of the network.
        flops: multiply-adds of one image.
        latency: milliseconds of one image on one thread over those of the dense file, timed in turns; None if not
            measured.
    """

    bytes: int
    params: int
    flops: int
    latency: float | None = None

    def shares(self, dense: Costs) -> dict[str, float]:
        """Of what the dense file costs."""
        found = {name: getattr(self, name) / getattr(dense, name) for name in ("flops", "bytes", "params")}
        return found if self.latency is None else {"latency": self.latency, **found}


@dataclass(frozen=True)
class Drop:
    """How much worse than the dense network, in points of the main metric.

    Attributes:
        points: on the images that were looked at.
        bound: what it is below with the confidence asked for.
        images: how many there were.
    """

    points: float
    bound: float
    images: int


def answers(config: Config, folder: Path, runtime: str | None) -> Rows:
    """What the main metric needs of each image of `DataLoader.Eval`, as an artifact answers in a runtime.

    Raises:
        UserError: the artifact does not run there, or an image cannot be read.
    """
    predictor, metric = Predictor(folder, runtime=runtime), config.Metric.Eval[0]
    loader = build_loader(
        config.DataLoader.Eval, class_num=config.Arch.class_num, seed=config.Global.seed, training=False, shard=False
    )
    kept = [metric.keep(predictor.logits(images.numpy()), labels.numpy()) for images, labels in loader]
    if not kept:
        raise UserError("DataLoader.Eval: none of its images can be read")
    return {name: np.concatenate([rows[name] for rows in kept]) for name in kept[0]}


def costs(folder: Path, dense: Path | None, runtime: str | None, *, timed: bool) -> Costs:
    """What an artifact costs; its latency only where `timed`, in turns with the artifact `dense`."""
    found, share = artifact.load(folder), None
    if timed and dense is not None:
        shape = [1, *found.description.image_shape]
        pair = {name: latency.Candidate(path, runtime=runtime) for name, path in (("dense", dense), ("one", folder))}
        taken = latency.measure(pair, shape, rounds=_ROUNDS)
        share = taken["one"].median_ms / taken["dense"].median_ms
    size = sum(found.files[name] for name in formats.get(found.description.format).files)
    return Costs(size, found.description.params, found.description.flops, share)


def predicted(config: Config, layers: Sequence[Layer], quantized: Collection[str], profile: Path) -> float:
    """The latency of a network over that of the dense one, by the profile of another machine.

    Args:
        layers: of the network.
        quantized: names of those that compute with integers.

    Raises:
        UserError: the profile is of other layers.
    """
    table = Table.load(profile)
    dense = layers_of(assemble.build_dense(config), config.Global.image_shape)
    return table.predicted(layers, quantized) / table.predicted(dense)


def drop(config: Config, dense: Rows, other: Rows, alpha: float = ALPHA) -> Drop:
    """How much worse `other` answers than `dense`, image by image.

    Top-k accuracies take `paired_bound`; other metrics, which are no mean over images, `resampled_bound`.
    """
    metric = config.Metric.Eval[0]
    sign = 100.0 if metric.higher_is_better else -100.0
    count = len(next(iter(dense.values())))
    whole = np.arange(count)

    def points(positions: np.ndarray) -> float:
        values = [metric.measure({key: rows[key][positions] for key in rows})[metric.main] for rows in (dense, other)]
        return sign * (values[0] - values[1])

    if isinstance(metric, TopkAcc):
        was, is_ = right(metric, dense), right(metric, other)
        bound = 100 * paired_bound(int((was & ~is_).sum()), int((is_ & ~was).sum()), count, alpha)
    else:
        bound = 100 * resampled_bound(lambda at: points(at) / 100, count, alpha)
    return Drop(points(whole), bound, count)


def least_bound(config: Config, dense: Rows) -> float | None:
    """The bound, in points, of a first finalist that errs nowhere; None for metrics that no such can be told of."""
    metric = config.Metric.Eval[0]
    if not isinstance(metric, TopkAcc):
        return None
    was = right(metric, dense)
    return 100 * paired_bound(0, int((~was).sum()), len(was), levels(1)[0])


def unchanged_bound(count: int) -> float:
    """The bound, in points, of a first finalist that answers as the dense network does."""
    return 100 * paired_bound(0, 0, count, levels(1)[0])


def right(metric: TopkAcc, rows: Rows) -> np.ndarray:
    """Which images are told rightly, bool [N]."""
    most = metric.topk[0]
    return (rows["rank"] < most) | (most >= rows["classes"])


def save(rows: Rows, file: Path) -> None:
    """Keep answers in a file."""
    with io.atomic(file) as partial, partial.open("wb") as stream:
        np.savez(stream, **rows)


def load(file: Path) -> Rows:
    """What `save` wrote.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with np.load(file, allow_pickle=False) as found:
            return dict(found)
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read; remove it, and the run makes it again") from error
