"""Options of `Slim.prune`. Imports without Paddle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

from ppcls_compress.errors import closest, shortened
from ppcls_compress.slim.prune.choose.criteria import CRITERIA

SCOPES = ("group", "layer")
PRUNE_TYPES = ("auto", "conv", "fc", "all")
BACKENDS = ("native", "paddleslim")
DEFAULT_RATIO = 0.3

_ALIASES = {"global_": "global"}


def yaml_key(field: str) -> str:
    """How an option is written in YAML; `global` cannot be a name in Python."""
    return _ALIASES.get(field, field)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_share(name: str, value: object, *, low_open: bool) -> None:
    low = _is_number(value) and (value > 0 if low_open else value >= 0)
    if not (low and value < 1):
        raise ValueError(f"{name} must be in {'(' if low_open else '['}0, 1), found {shortened(value)}")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        match = closest(value, choices)
        hint = f"; did you mean {match!r}?" if match else ""
        raise ValueError(f"{name} must be one of {', '.join(choices)}, found {shortened(value)}{hint}")


def _check_integer(name: str, value: object, low: int, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"{name} must be {what}, found {shortened(value)}")


@dataclass(frozen=True)
class IterativeOptions:
    """Pruning in several steps with training between them.

    Attributes:
        steps: how many times; after step k, the k / steps power of the share to keep is left of the dense network.
        epochs_per_step: epochs of training after each step but the last.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  read by pydantic

    steps: int
    epochs_per_step: int = 1

    def __post_init__(self) -> None:
        for name in ("steps", "epochs_per_step"):
            _check_integer(name, getattr(self, name), 1, "a positive integer")


@dataclass(frozen=True)
class PruneOptions:
    """How channels are chosen and removed.

    Attributes:
        name: `fpgm`, `l1_norm`, `l2_norm`, `bn_scale` (needs batch norms) or `taylor` (needs gradients).
        pruned_ratio: share of every group of channels to remove, a number in [0, 1), or {glob over layer paths:
            number}, where layers that no glob matches stay and the first glob that matches a layer counts. 0.3 when no
            target is given.
        scope: `group` sums the scores of all coupled layers, each divided by its mean; `layer` is PaddleSlim's way and
            looks at the first of them only, and grouped convolutions lose whole groups.
        prune_type: `conv` removes output channels of convolutions, `fc` those of linear layers, `all` both; `auto` is
            `conv`, and `all` for a network such as a transformer, of which no convolution can lose any.
        target_flops: share of the multiply-adds to keep, in (0, 1), instead of a ratio.
        target_params: share of the parameters to keep, in (0, 1), instead of a ratio.
        target_latency_ms: latency to reach, instead of a ratio; measured by the function given to `prune`.
        global_: (`global` in YAML) one ranking over all layers, normalised, instead of the same ratio everywhere.
        align: numbers of kept channels are rounded to multiples of it.
        skip: layers that keep all output channels: paths, globs over paths, or layer types; each must hold something.
        iterative: prune in steps with training between them.
        bn_recalibration: batches of training data to renew batch norm statistics with after pruning.
        backend: who chooses the channels: `native`, or an installed PaddleSlim 2.6.0 (`paddleslim`), which knows one
            way only: `scope: layer`, a ratio, `fpgm`, `l1_norm` or `l2_norm`.
        verify: check by forward passes that the pruned network equals the dense one with the channels zeroed.
    """

    __pydantic_config__ = {"extra": "forbid", "alias_generator": yaml_key}  # noqa: RUF012  read by pydantic
    example: ClassVar[str] = "{name: fpgm, pruned_ratio: 0.3}"

    name: str = "fpgm"
    pruned_ratio: float | dict[str, float] | None = None
    scope: str = "group"
    prune_type: str = "auto"
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
        _check_choice("name", self.name, tuple(CRITERIA))
        _check_choice("scope", self.scope, SCOPES)
        _check_choice("prune_type", self.prune_type, PRUNE_TYPES)
        self._check_amount()
        self._check_types()
        object.__setattr__(self, "skip", tuple(self.skip))
        _check_choice("backend", self.backend, BACKENDS)
        if self.backend == "paddleslim":
            self._check_paddleslim()

    def _check_types(self) -> None:
        if self.align is not None:
            _check_integer("align", self.align, 1, "a positive integer")
        _check_integer("bn_recalibration", self.bn_recalibration, 0, "a number of batches")
        for name in ("global_", "verify"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{yaml_key(name)} must be true or false, found {shortened(getattr(self, name))}")
        if not isinstance(self.skip, list | tuple) or not all(isinstance(rule, str) for rule in self.skip):
            raise ValueError(f"skip must be a list of names, globs or layer types, found {shortened(self.skip)}")
        if self.iterative is not None and not isinstance(self.iterative, IterativeOptions):
            raise ValueError(
                f"iterative must be IterativeOptions(steps, epochs_per_step), found {shortened(self.iterative)}"
            )

    def _check_paddleslim(self) -> None:
        if self.scope != "layer":
            raise ValueError("backend paddleslim scores coupled layers by the first of them: set scope: layer")
        names = ("l1_norm", "l2_norm") if self.prune_type == "fc" else ("fpgm", "l1_norm", "l2_norm")
        if self.name not in names or self.prune_type == "all":
            raise ValueError(
                f"backend paddleslim has no {self.name} for prune_type {self.prune_type.replace('auto', 'conv')}; "
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
        wanted = self.target_latency_ms
        if wanted is not None and not (_is_number(wanted) and wanted > 0 and isfinite(wanted)):
            raise ValueError(f"target_latency_ms must be a positive number, found {shortened(wanted)}")
        if not isinstance(self.pruned_ratio, Mapping):
            _check_share("pruned_ratio", self.ratio, low_open=False)
            return
        if self.global_:
            raise ValueError("global ranks all layers together and takes one pruned_ratio, not one per glob")
        if not self.pruned_ratio:
            raise ValueError("pruned_ratio is empty: give a number or at least one glob with a number")
        for glob, ratio in self.pruned_ratio.items():
            if not isinstance(glob, str):
                raise ValueError(f"pruned_ratio takes globs over layer names, found {shortened(glob)}")
            _check_share(f"pruned_ratio[{shortened(glob)}]", ratio, low_open=False)

    @property
    def ratio(self) -> float | dict[str, float]:
        """`pruned_ratio` with its default."""
        return DEFAULT_RATIO if self.pruned_ratio is None else self.pruned_ratio

    @property
    def target(self) -> tuple[str, float] | None:
        """(`flops` | `params` | `latency_ms`, value) when a target is given instead of a ratio."""
        for name in ("flops", "params", "latency_ms"):
            value = getattr(self, f"target_{name}")
            if value is not None:
                return name, value
        return None
