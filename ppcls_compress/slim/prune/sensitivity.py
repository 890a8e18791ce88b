"""How much the score drops when one layer alone is pruned: measured, saved as it goes, and turned into ratios."""

from __future__ import annotations

import hashlib
import math
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle

from ppcls_compress import io, restricted_pickle
from ppcls_compress.errors import UserError, one_line

Sensitivities = dict[str, dict[float, float]]
"""Parameter name -> pruned ratio -> share of the score that is lost."""

_FINEST = 1e-6
"""Bounds on the loss that differ by less are not worth another try."""

_FINEST_CAP = 1e-3
"""The same for caps of the ratios, which are written with three digits."""

_CLOSE = 0.01
"""A share that is this near the target and comes back ends a patient search."""

_SAME_SCORE = 0.01
"""Scores of one network on the same images differ by less, whatever the machine."""

RATIOS = tuple(round(0.1 * step, 1) for step in range(1, 10))


@dataclass(frozen=True)
class Progress:
    """One measurement of a sensitivity analysis.

    Attributes:
        done: measurements so far, those of an earlier run included.
        total: measurements in all.
        eta: estimated seconds to the end.
    """

    name: str
    ratio: float
    loss: float
    done: int
    total: int
    eta: float


class Status:
    """A sensitivity analysis under way, or finished; a file holds one for each criterion.

    Args:
        src: a file to start from, if it is there.
        criterion: whose analysis to take from it; where there is none of it, the only one that there is.

    Attributes:
        sensitivies: (PaddleSlim's spelling) what has been measured.
        is_ckp: False once every measurement is made.
        source: what was measured: `criterion`, checksum of the `weights`, `base` score and what the caller adds. Empty
            for a file that does not tell, as PaddleSlim's do not.
    """

    def __init__(self, src: str | Path | None = None, criterion: str | None = None) -> None:
        self._forget()
        if src is not None and Path(src).is_file():
            self.load(src, criterion)
            if not self.sensitivies:
                self.load(src)

    def _forget(self) -> None:
        self.sensitivies: Sensitivities = {}
        self.accumulates: dict[str, object] = {}
        self.is_ckp = True
        self.source: dict[str, object] = {}

    def save(self, dst: str | Path) -> None:
        """Writes JSON; a reader never sees half a file. Analyses of other criteria that are there already stay.

        Raises:
            UserError: there is a file already, and it is none of sensitivities.
        """
        table = {name: {str(ratio): loss for ratio, loss in row.items()} for name, row in self.sensitivies.items()}
        own = {"sensitivities": table, "complete": not self.is_ckp, "source": self.source}
        there = _read(dst) if Path(dst).is_file() else []
        others = [study for study in there if _criterion(study) != _criterion(own)]
        io.write_json(dst, {"studies": [*others, own]} if others else own)

    def load(self, src: str | Path, criterion: str | None = None) -> None:
        """Reads JSON, or a file pickled by PaddleSlim, of which nothing but plain data is accepted.

        Args:
            criterion: whose analysis to take; of a file that has none of it, and tells whose its are, nothing is taken.

        Raises:
            UserError: the file holds something else, or several analyses and `criterion` is not given.
        """
        studies = {_criterion(study): study for study in _read(src)}
        if criterion is None and len(studies) > 1:
            held = ", ".join(str(name) for name in studies)
            raise UserError(f"{src}: holds sensitivities by {held}; say whose to take: Status(file, criterion=...)")
        wanted = next(iter(studies)) if criterion is None else criterion
        found = studies.get(wanted, studies.get(None))
        self._forget()
        if found is None:
            return
        try:
            self.sensitivies = {
                str(name): {float(ratio): float(loss) for ratio, loss in row.items()}
                for name, row in found["sensitivities"].items()
            }
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{src}: not a sensitivity file ({one_line(error, 200)})") from error
        self.is_ckp = not found.get("complete", False)
        self.source = dict(found.get("source") or {})

    def differences(self, now: Mapping[str, object]) -> list[str]:
        """What is not as it was measured, a line each; nothing for what the source does not tell."""
        return [
            f"{key}: measured with {self.source[key]}, now {value}"
            for key, value in now.items()
            if key in self.source and not _same(self.source[key], value)
        ]

    def check(self, now: Mapping[str, object], file: str | Path | None) -> None:
        """Compares what was loaded from `file` with what is to be measured; notes it where nothing is measured yet.

        Raises:
            UserError: they differ.
        """
        if not self.sensitivies:
            self.source = {**self.source, **now}
            return
        for line in self.differences(now):
            raise UserError(f"{file or 'sensitivities'}: {line}; remove the file or name another")
        if not self.source:
            warnings.warn(f"{file}: does not tell what was measured; its numbers are taken as they are", stacklevel=3)


def _read(src: str | Path) -> list[Mapping[str, object]]:
    """The analyses in a file, at least one."""
    with Path(src).open("rb") as file:
        first = file.read(1)
    found = io.read_json(src) if first in (b"{", b"[") else read_pickled_status(src)
    studies = found.get("studies", [found]) if isinstance(found, Mapping) else []
    if not isinstance(studies, list) or not studies or not all(_is_study(study) for study in studies):
        raise UserError(f"{src}: not a sensitivity file")
    return studies


def _is_study(study: object) -> bool:
    if not isinstance(study, Mapping) or not isinstance(study.get("source") or {}, Mapping):
        return False
    return isinstance(study.get("sensitivities"), Mapping) and isinstance(_criterion(study), str | None)


def _criterion(study: Mapping[str, object]) -> object:
    """Whose an analysis is; None where it does not tell."""
    return (study.get("source") or {}).get("criterion")


def _same(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=_SAME_SCORE)
    return a == b


def checksum(state: Mapping[str, paddle.Tensor]) -> str:
    """Of the names, types, shapes and values of a state dict."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        array = np.ascontiguousarray(tensor.numpy())
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(array)
    return digest.hexdigest()[:16]


def read_pickled_status(src: str | Path) -> dict[str, object]:
    """The data of a `Status` that PaddleSlim pickled.

    Raises:
        UserError: the file is damaged or refers to any other class.
    """
    with Path(src).open("rb") as file:
        found = restricted_pickle.load(
            file, str(src), also={("paddleslim.dygraph.prune.filter_pruner", "Status"): _Attributes}
        )
    if not isinstance(found, _Attributes):
        raise UserError(f"{src}: not a sensitivity file")
    return {"sensitivities": vars(found).get("sensitivies"), "complete": not vars(found).get("is_ckp", True)}


class _Attributes:
    """Holds what a pickled object had as attributes, without its code."""


def measure(
    status: Status,
    names: Iterable[str],
    loss_of: Callable[[str, float, float], float],
    evaluate: Callable[[], float],
    *,
    save_to: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> None:
    """Fills `status` for every name and ratio that it lacks, saving after each.

    Args:
        loss_of: (name, ratio, base score) -> loss.
        evaluate: score of the network as it is.

    Raises:
        UserError: that score is not the one with which earlier measurements were compared.
    """
    todo = [(name, ratio) for name in names for ratio in RATIOS if ratio not in status.sensitivies.get(name, {})]
    total = len(todo) + sum(len(row) for row in status.sensitivies.values())
    base = float(evaluate()) if todo else 0.0
    if todo and save_to is not None:
        status.check({"base": base}, save_to)
    start = time.monotonic()
    for index, (name, ratio) in enumerate(todo, start=1):
        loss = loss_of(name, ratio, base)
        status.sensitivies.setdefault(name, {})[ratio] = loss
        if save_to is not None:
            status.save(save_to)
        if progress is not None:
            left = len(todo) - index
            eta = (time.monotonic() - start) / index * left
            progress(Progress(name, ratio, loss, total - left, total, eta))


def ratios_by_loss(sensitivities: Sensitivities, bound: float, skip: Iterable[str] = ()) -> dict[str, float]:
    """For each parameter the ratio at which its loss reaches `bound`, interpolated behind the last one below it.

    Parameters whose every loss is above the bound are left out.
    """
    skip = set(skip)
    ratios = {}
    for name, row in sensitivities.items():
        points = sorted(row.items())
        below = [index for index, (_, loss) in enumerate(points) if loss <= bound]
        if name in skip or not below:
            continue
        index = below[-1]
        ratio, loss = points[index]
        if index + 1 < len(points):
            next_ratio, next_loss = points[index + 1]
            ratio += (bound - loss) * (next_ratio - ratio) / (next_loss - loss)
        ratios[name] = ratio
    return ratios


def aligned_ratio(size: int, ratio: float, align: int) -> float:
    """The ratio that keeps the nearest multiple of `align`, at least one and at most all."""
    kept = round((1 - ratio) * size / align) * align or align
    return max(0.0, (size - kept) / size)


def bisect(
    sensitivities: Sensitivities,
    target: float,
    cost_removed: Callable[[dict[str, float]], float],
    *,
    align: Callable[[dict[str, float]], dict[str, float]] = lambda ratios: ratios,
    skip: Iterable[str] = (),
    patient: bool = True,
    reach: bool = False,
) -> tuple[dict[str, float], float]:
    """Ratios under one bound on the loss of each layer, whose removed share of the cost is `target`.

    Args:
        cost_removed: ratios -> share of FLOPs, parameters or latency that they remove.
        patient: while the share is not close, try bounds until they differ by nothing, cap the ratios of layers that
            all pass the bound at once, and return the closest share; otherwise stop as PaddleSlim does, with the first
            share that comes back (to four digits), but not while the bound is above or below all losses, where
            PaddleSlim prunes far too much, or nothing.
        reach: shares below the target count only where there is none that reaches it.

    Returns:
        The ratios and the share that they remove.
    """
    losses = [loss for row in sensitivities.values() for loss in row.values()]
    low, high = min([0.0, *losses]), max([1.0, *losses])
    fewer, more = {}, ratios_by_loss(sensitivities, high, skip)
    seen: set[float] = set()
    best: tuple[dict[str, float], float] | None = None
    before: dict[str, float] | None = None

    def tried(ratios: dict[str, float]) -> tuple[dict[str, float], float]:
        ratios = align(ratios)
        return ratios, cost_removed(ratios)

    def off(one: tuple[dict[str, float], float]) -> tuple[bool, float]:
        return reach and one[1] < target, abs(one[1] - target)

    def close(one: tuple[dict[str, float], float]) -> bool:
        short, distance = off(one)
        return not short and distance <= _CLOSE

    while True:
        bound = (low + high) / 2
        found = ratios_by_loss(sensitivities, bound, skip)
        moved, before = found != before, found
        ratios, removed = tried(found)
        if best is None or not patient or off((ratios, removed)) < off(best):
            best = (ratios, removed)
        enough = close(best) if patient else moved
        again = enough and round(removed, 4) in seen
        if removed == target or again or high - low < _FINEST:
            break
        seen.add(round(removed, 4))
        if removed < target:
            low, fewer = bound, found
        else:
            high, more = bound, found
    if not patient or close(best):
        return best
    return min([best, *_capped(fewer, more, target, tried)], key=off)


def _capped(
    fewer: Mapping[str, float],
    more: Mapping[str, float],
    target: float,
    tried: Callable[[dict[str, float]], tuple[dict[str, float], float]],
) -> list[tuple[dict[str, float], float]]:
    """Ratios between those of two bounds, none above one cap, whose removed shares come near `target`.

    Where layers lose nothing, or the same at all ratios, no bound lies between all of a layer and none of it.
    """
    low, high = 0.0, 1.0
    found = []
    while high - low > _FINEST_CAP:
        cap = (low + high) / 2
        found.append(tried({name: max(fewer.get(name, 0.0), min(ratio, cap)) for name, ratio in more.items()}))
        low, high = (cap, high) if found[-1][1] < target else (low, cap)
    return found
