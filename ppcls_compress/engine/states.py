"""What `.pdstates` of a checkpoint holds, checked before anything is believed."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ppcls_compress.errors import UserError

_Number = Annotated[int, Field(ge=0, le=2**53)]
_Epochs = Annotated[int, Field(ge=0, le=10**6)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ProgressState(_Strict):
    """How far a run had come; as `engine.training.Progress`."""

    epoch: _Epochs
    batch: _Number = 0
    step: _Number
    best: _Finite | None
    best_epoch: _Epochs
    metrics: dict[str, _Finite]
    watched: _Finite | None = None
    waited: _Number = 0
    stopped: bool = False


class States(_Strict):
    """How far a run had come, and what the other files of the checkpoint are.

    Attributes:
        settings: what the run was told, for the one that goes on.
        loss_scaling: of mixed precision.
        parameter_names: Paddle's name of each parameter -> its structured name.
        sha256: ending of each other file -> its checksum.
    """

    progress: ProgressState
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    settings: dict[str, Any] = Field(default_factory=dict)
    steps_per_epoch: _Number | None = None
    loss_scaling: dict[str, Any]
    parameter_names: dict[str, str]
    sha256: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]]


def checked(found: dict[str, Any], source: str) -> dict[str, Any]:
    """`found` itself, when it is what a checkpoint holds.

    Raises:
        UserError: a key is missing, unknown, or of another kind; the message names the first.
    """
    try:
        States.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"][:4]) or "it"
        raise UserError(f"{source}: {where[:80]}: {first['msg'][0].lower()}{first['msg'][1:120]}") from None
    return found
