"""The frozen base of every configuration object, and the number type that reads YAML's string numbers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from ppcls_compress.config.arithmetic import parse_number


class Options(BaseModel):
    """A group of configuration keys: frozen, unknown keys refused, defaults validated."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


def _number(value: Any) -> Any:
    return parse_number(value) if isinstance(value, str) else value


Number = Annotated[float, BeforeValidator(_number)]
"""A float that may be written as arithmetic, `1.0/255.0`, or as a string that YAML did not read as a number, `1e-8`."""
