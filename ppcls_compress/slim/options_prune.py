"""Options of `Slim.prune`. A leaf: imports neither Paddle nor NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

CRITERIA = ("fpgm", "l1_norm", "l2_norm", "bn_scale", "taylor")
SCOPES = ("group", "layer")
PRUNE_TYPES = ("conv", "fc", "all")
BACKENDS = ("native", "paddleslim")
DEFAULT_RATIO = 0.3

_ALIASES = {"global_": "global"}


def _alias(field: str) -> str:
    return _ALIASES.get(field, field)


def _check_share(name: str, value: float, *, low_open: bool) -> None:
    low = value > 0 if low_open else value >= 0
    if isinstance(value, bool) or not isinstance(value, int | float) or not (low and value < 1):
        raise ValueError(f"{name} must be in {'(' if low_open else '['}0, 1), found {value!r}")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, found {value!r}")


@dataclass(frozen=True)
class IterativeOptions:
    """Pruning in several steps with training between them.

    Attributes:
        steps: how many times; the ratio or target is approached in equal factors of what is left.
        epochs_per_step: epochs of training after each step but the last.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  read by pydantic

    steps: int
    epochs_per_step: int = 1

    def __post_init__(self) -> None:
        for name in ("steps", "epochs_per_step"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer, found {value!r}")


@dataclass(frozen=True)
class PruneOptions:
    """How channels are chosen and removed.

    Attributes:
        name: `fpgm`, `l1_norm`, `l2_norm`, `bn_scale` (needs batch norms) or `taylor` (needs gradients).
        pruned_ratio: share of every group of channels to remove, a number in [0, 1), or {glob over layer paths:
            number}, where layers that no glob matches stay. 0.3 when no target is given.
        scope: `group` sums the scores of all coupled layers, each divided by its mean; `layer` looks at the first
            of them only.
        prune_type: `conv` removes output channels of convolutions, `fc` those of linear layers, `all` both.
        target_flops: share of the multiply-adds to keep, in (0, 1), instead of a ratio.
        target_params: share of the parameters to keep, in (0, 1), instead of a ratio.
        target_latency_ms: latency to reach, instead of a ratio; measured by the function given to `prune`.
        global_: (`global` in YAML) one ranking over all layers, normalised, instead of the same ratio everywhere.
        align: numbers of kept channels are rounded to multiples of it.
        skip: layers to leave alone: paths, globs over paths, or layer types; each must match something.
        iterative: prune in steps with training between them.
        bn_recalibration: batches of training data to renew batch norm statistics with after pruning.
        backend: who chooses the channels: `native`, or an installed PaddleSlim 2.6.0 (`paddleslim`), which knows one
            way only: `scope: layer`, a ratio, `fpgm`, `l1_norm` or `l2_norm`.
        verify: check by forward passes that the pruned network equals the dense one with the channels zeroed.
    """

    __pydantic_config__ = {"extra": "forbid", "alias_generator": _alias}  # noqa: RUF012  read by pydantic

    name: str = "fpgm"
    pruned_ratio: float | dict[str, float] | None = None
    scope: str = "group"
    prune_type: str = "conv"
    target_flops: float | None = None
    target_params: float | None = None
    target_latency_ms: float | None = None
    global_: bool = False
    align: int | None = None
    skip: tuple[str, ...] = ()
    iterative: IterativeOptions | None = None
    bn_recalibration: int = 0
    backend: str = "native"
    verify: bool = True

    def __post_init__(self) -> None:
        _check_choice("name", self.name, CRITERIA)
        _check_choice("scope", self.scope, SCOPES)
        _check_choice("prune_type", self.prune_type, PRUNE_TYPES)
        self._check_amount()
        if self.align is not None and (isinstance(self.align, bool) or self.align < 1):
            raise ValueError(f"align must be a positive integer, found {self.align!r}")
        if isinstance(self.bn_recalibration, bool) or self.bn_recalibration < 0:
            raise ValueError(f"bn_recalibration must be a number of batches, found {self.bn_recalibration!r}")
        if isinstance(self.skip, str):
            raise ValueError(f"skip must be a list of names, globs or layer types, found {self.skip!r}")
        object.__setattr__(self, "skip", tuple(self.skip))
        _check_choice("backend", self.backend, BACKENDS)
        if self.backend == "paddleslim":
            self._check_paddleslim()

    def _check_paddleslim(self) -> None:
        if self.scope != "layer":
            raise ValueError("backend paddleslim scores coupled layers by the first of them: set scope: layer")
        names = ("l1_norm", "l2_norm") if self.prune_type == "fc" else ("fpgm", "l1_norm", "l2_norm")
        if self.name not in names or self.prune_type == "all":
            raise ValueError(
                f"backend paddleslim has no {self.name} for prune_type {self.prune_type}; "
                "it has fpgm, l1_norm and l2_norm for conv, l1_norm and l2_norm for fc"
            )
        beyond = {"global": self.global_, "align": self.align, "a target": self.target}
        wanted = [option for option, value in beyond.items() if value]
        if wanted:
            raise ValueError(f"backend paddleslim takes pruned_ratio only, not {' and '.join(wanted)}")

    def _check_amount(self) -> None:
        targets = [
            name for name in ("target_flops", "target_params", "target_latency_ms") if getattr(self, name) is not None
        ]
        given = targets + (["pruned_ratio"] if self.pruned_ratio is not None else [])
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other: give one of them")
        for name in ("target_flops", "target_params"):
            if getattr(self, name) is not None:
                _check_share(name, getattr(self, name), low_open=True)
        if self.target_latency_ms is not None and not self.target_latency_ms > 0:
            raise ValueError(f"target_latency_ms must be positive, found {self.target_latency_ms!r}")
        if not isinstance(self.pruned_ratio, Mapping):
            _check_share("pruned_ratio", self.ratio, low_open=False)
            return
        if self.global_:
            raise ValueError("global ranks all layers together and takes one pruned_ratio, not one per glob")
        if not self.pruned_ratio:
            raise ValueError("pruned_ratio is empty: give a number or at least one glob with a number")
        for glob, ratio in self.pruned_ratio.items():
            _check_share(f"pruned_ratio[{glob!r}]", ratio, low_open=False)

    @property
    def ratio(self) -> float | dict[str, float]:
        """`pruned_ratio` with its default."""
        return DEFAULT_RATIO if self.pruned_ratio is None else self.pruned_ratio

    def one_iteration(self, left: int, latency_ms: float | None = None) -> PruneOptions:
        """Options of the next of `left` iterations, relative to the network as it is by then.

        Every iteration keeps the same factor of what is left, so that all of them together meet the ratio or target.

        Args:
            latency_ms: of the network as it is; needed for `target_latency_ms`.
        """
        if self.iterative is None:
            return self
        steps = self.iterative.steps
        if self.target_latency_ms is not None:
            goal = latency_ms * (self.target_latency_ms / latency_ms) ** (1 / left)
            return replace(self, iterative=None, target_latency_ms=goal)
        if self.target is not None:
            name = f"target_{self.target[0]}"
            return replace(self, iterative=None, **{name: getattr(self, name) ** (1 / steps)})
        if isinstance(self.ratio, Mapping):
            ratios = {glob: 1 - (1 - ratio) ** (1 / steps) for glob, ratio in self.ratio.items()}
            return replace(self, iterative=None, pruned_ratio=ratios)
        return replace(self, iterative=None, pruned_ratio=1 - (1 - self.ratio) ** (1 / steps))

    @property
    def target(self) -> tuple[str, float] | None:
        """(`flops` | `params` | `latency_ms`, value) when a target is given instead of a ratio."""
        for name in ("flops", "params", "latency_ms"):
            value = getattr(self, f"target_{name}")
            if value is not None:
                return name, value
        return None
