"""The file of a profile: what it may hold, told by key where it holds something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from ppcls_compress import io
from ppcls_compress.config.load import explain
from ppcls_compress.declare import Count, Options, at_key
from ppcls_compress.errors import UserError

VERSION = 2
_FASTEST = 5e12
"""Multiply-adds that no core computes in a second."""

Time = Annotated[float, Field(gt=0, strict=True)]
Rest = Annotated[float, Field(ge=0, strict=True)]
Scale = Annotated[float, Field(gt=0, le=1, strict=True)]
Length = Annotated[int, Field(ge=0, le=65535)]
Pair = tuple[Count, Count]


class Milliseconds(Options):
    """See `layers.Times`."""

    float: Time
    integer: Time
    switch: Time


class Beside(Options):
    """See `layers.Whole`."""

    scale: Scale = 1.0
    rest: Rest = 0.0


class Row(Options):
    """One timed layer; see `layers.Shape`."""

    kind: Literal["conv", "depthwise", "linear"]
    kernel: Pair
    stride: Pair
    size: Pair
    groups: Count
    dilation: Pair
    padding: tuple[Length, Length, Length, Length]
    inputs: Count
    outputs: Count
    ms: Milliseconds

    @property
    def multiply_adds(self) -> float:
        """Of one image."""
        top, left, bottom, right = self.padding
        padded = (self.size[0] + top + bottom, self.size[1] + left + right)
        positions = 1
        for window, length, step, apart in zip(self.kernel, padded, self.stride, self.dilation, strict=True):
            positions *= max(0, length - apart * (window - 1) - 1) // step + 1
        groups = self.inputs if self.kind == "depthwise" else self.groups
        return positions * self.kernel[0] * self.kernel[1] * self.outputs * self.inputs / groups


class Profile(Options):
    """A whole file."""

    version: Literal[2]
    unit: Literal["ms"]
    about: dict[str, Any]
    whole: dict[Literal["float", "integer"], Beside]
    layers: Annotated[list[Row], Field(min_length=1)]

    @model_validator(mode="after")
    def _no_faster_than_possible(self) -> Profile:
        threads, batch = (self.about.get(key, 1) for key in ("threads", "batch"))
        for key, count in (("threads", threads), ("batch", batch)):
            if type(count) is not int or count < 1:
                raise at_key(f"about.{key}", f"expected a whole number from 1, found {count!r}")
        for index, row in enumerate(self.layers):
            if batch * row.multiply_adds / (row.ms.float / 1000) > _FASTEST * threads:
                text = (
                    f"{row.ms.float:g} ms for {batch * row.multiply_adds:.3g} multiply-adds is faster than any "
                    "processor; times are in milliseconds"
                )
                raise at_key(f"layers.{index}.ms.float", text)
        return self


def write(
    file: str | Path, *, about: Mapping[str, Any], whole: Mapping[str, Any], layers: Sequence[Mapping[str, Any]]
) -> None:
    """Write JSON."""
    io.write_json(file, {"version": VERSION, "unit": "ms", "about": about, "whole": whole, "layers": layers})


def read(file: str | Path) -> Profile:
    """What `write` wrote.

    Raises:
        UserError: it cannot be read, is no such file, or holds a value that it cannot have; the first key is named.
    """
    found = io.read_json(file)
    if not isinstance(found, dict) or not {"version", "layers"} <= found.keys():
        raise UserError(f"{file}: is no profile that ppcls-compress profile wrote")
    if found["version"] != VERSION:
        raise UserError(
            f"{file}: version {found['version']!r} of a profile; {VERSION} is known here, make it again with "
            "ppcls-compress profile"
        )
    try:
        return Profile(**found)
    except ValidationError as error:
        lines = explain(error, found, str(file))
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        raise UserError(lines[0] + more) from None
