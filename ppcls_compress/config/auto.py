"""`Slim.auto`: what compression may lose, what it must reach, where that is measured, and what the search may take."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from ppcls_compress.declare import Count, Number, Options, Positive
from ppcls_compress.deploy.formats import FORMATS, RUNTIMES
from ppcls_compress.errors import unknown

COSTS = ("latency", "flops", "bytes", "params")
"""What a network costs: milliseconds of one image on one thread, multiply-adds, bytes of its files, parameters."""

Share = Annotated[Number, Field(gt=0, lt=1)]


class Target(Options):
    """The share of one of the dense network's costs that is left at most."""

    example: ClassVar[str] = "{latency: 0.5}"

    latency: Share | None = None
    flops: Share | None = None
    bytes: Share | None = None
    params: Share | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Target:
        given = [cost for cost in COSTS if getattr(self, cost) is not None]
        if len(given) != 1:
            found = "several" if given else "none"
            raise ValueError(f"expected one of {', '.join(COSTS)} with a share, such as {self.example}, found {found}")
        return self

    @property
    def wanted(self) -> tuple[str, float]:
        """The cost, and the share of it."""
        return next((cost, getattr(self, cost)) for cost in COSTS if getattr(self, cost) is not None)


class Budget(Options):
    """What a search may take.

    Attributes:
        trials: candidates that are trained.
        epochs: of the first training of each; a third of them, and recipes by hand, are trained three times as long,
            and a third of those nine times.
        hours: of trainings, all workers together; when half of them are gone, no further candidate is begun.
    """

    example: ClassVar[str] = "{trials: 12, epochs: 2, hours: 3}"

    trials: Annotated[int, Field(ge=1, le=10_000)] = 12
    epochs: Count = 2
    hours: Positive = 3.0


class Auto(Options):
    """A contract: the smallest or the best network within it is searched, or it is refused.

    Attributes:
        max_drop: points of the main metric that may be lost against the dense network, at 95% confidence.
        target: what must be reached.
        minimize: instead of a target, the cost that is to be as small as the drop allows.
        runtime: where latency and the metric are measured: `FORMAT`, `FORMAT@RUNTIME`, or `RUNTIME` alone for the
            format whose own it is.
        budget: what the search may take.
        storage: of the study, for several workers: a URL such as `postgresql://user@host/name`, or a journal on a
            shared disk, `DIR/study.journal`; None is a file in the output folder. A password in it is kept nowhere.
        decide: a label file of images that decide at the end, beside the image folder of `DataLoader.Eval`; None
            keeps a half of `DataLoader.Eval` for it.
        seed: of the split and of the proposals; None is `Global.seed`.
    """

    example: ClassVar[str] = "{max_drop: 0.5, target: {latency: 0.5}, runtime: openvino}"

    max_drop: Annotated[Number, Field(ge=0, le=100)]
    target: Target | None = None
    minimize: Literal["latency", "flops", "bytes", "params"] | None = None
    runtime: str = "onnx-ort"
    budget: Budget = Budget()
    storage: str | None = None
    decide: str | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None

    @model_validator(mode="after")
    def _target_or_minimize(self) -> Auto:
        if (self.target is None) == (self.minimize is None):
            raise ValueError("expected either target, such as {latency: 0.5}, or minimize, such as latency")
        return self

    @field_validator("runtime")
    @classmethod
    def _there_is_such(cls, value: str) -> str:
        place(value)
        return value

    @property
    def cost(self) -> str:
        """The cost that the contract is about."""
        return self.target.wanted[0] if self.target else self.minimize

    @property
    def share(self) -> float | None:
        """What is left of it at most; None where it is to be as small as possible."""
        return self.target.wanted[1] if self.target else None

    @property
    def place(self) -> tuple[str, str | None]:
        """The format, and the runtime, None for its own."""
        return place(self.runtime)


def place(text: str) -> tuple[str, str | None]:
    """The format and runtime that `FORMAT`, `FORMAT@RUNTIME` or `RUNTIME` names.

    Raises:
        ValueError: there is no such.
    """
    name, at, runtime = text.partition("@")
    formats = {kind.name: kind for kind in FORMATS.values() if kind.selectable}
    if not at and name not in formats and name in RUNTIMES:
        return next(kind.name for kind in formats.values() if kind.runtimes[0].name == name), None
    if name not in formats:
        raise ValueError(unknown("format or runtime", name, dict.fromkeys((*formats, *RUNTIMES))))
    if formats[name].elsewhere:
        raise ValueError(f"{name} is for {formats[name].elsewhere}, whose times no machine here tells")
    names = [item.name for item in formats[name].runtimes]
    if at and runtime not in names:
        raise ValueError(f"{name} does not run in {runtime!r}; it runs in {' and '.join(names)}")
    return name, runtime or None
