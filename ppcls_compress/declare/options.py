"""The frozen base of every options object, and the number types, which read YAML's string numbers too."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from ppcls_compress.declare.arithmetic import parse_number
from ppcls_compress.declare.kinds import boolean_for_number, no_section
from ppcls_compress.errors import unknown


class Options(BaseModel):
    """A group of configuration keys: frozen, unknown keys refused, defaults validated, booleans no numbers.

    Attributes:
        example: how a YAML writes it, for the error where it gives a plain value instead.
    """

    # Pydantic before 2.10 warns of keys that begin as its methods do, such as PaddleClas' model_name_pairs.
    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, protected_namespaces=()
    )
    example: ClassVar[str | None] = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        allowed = [field.alias or name for name, field in cls.model_fields.items()]
        if not isinstance(data, dict | cls):
            raise PydanticCustomError("no_section", "{text}", {"text": no_section(data, allowed, cls.example)})
        if isinstance(data, dict) and cls.model_config.get("extra") == "forbid":
            refuse_unknown_keys(data, allowed)
        return data

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        problem = boolean_for_number(cls.model_fields[info.field_name].annotation, value)
        if problem is not None:
            raise ValueError(problem)
        return value


def refuse_unknown_keys(data: dict[Any, Any], allowed: list[str]) -> None:
    """Raise pydantic's error type for the first key that is not allowed, with the closest match."""
    for key in data:
        if key not in allowed:
            text = unknown("key", key, allowed)
            raise PydanticCustomError("unknown_key", "{text}", {"text": text, "key": str(key)})


def at_key(key: str, text: str) -> PydanticCustomError:
    """A validation error about one key of the section that is being validated."""
    return PydanticCustomError("at_key", "{text}", {"text": text, "key": key})


def _number(value: Any) -> Any:
    return parse_number(value) if isinstance(value, str) else value


Number = Annotated[float, BeforeValidator(_number)]
"""A float that may be written as arithmetic, `1.0/255.0`, or as a string that YAML did not read as a number, `1e-8`."""

Positive = Annotated[Number, Field(gt=0)]
NonNegative = Annotated[Number, Field(ge=0)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
LARGEST = 2**31 - 1
"""Of a whole number: what the libraries beneath count with."""
PositiveInt = Annotated[int, Field(gt=0, le=LARGEST)]
Count = Annotated[int, Field(ge=1, le=LARGEST)]
