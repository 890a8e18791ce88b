"""The options of `-p`, written `key=value;key=value` as in PaddleClas."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator

from ppcls_compress.config.load import explain
from ppcls_compress.config.overrides import parse_value
from ppcls_compress.config.yaml_text import UnfitError, problem_of
from ppcls_compress.declare import Options
from ppcls_compress.errors import ConfigError, one_line, shortened


class ProfilerOptions(Options):
    """What `-p` asks for.

    Attributes:
        batch_range: first batch that is timed, and the one after the last.
        sorted_key: the order of the operators in the summary.
        profile_path: the folder of the time line.
        timer_only: tell the reading cost and the speed, without a summary of operators.
        exit_on_finished: end the run after the range.
    """

    batch_range: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1)]] = (10, 20)
    sorted_key: Literal["CPUTotal", "CPUAvg", "CPUMax", "CPUMin", "GPUTotal", "GPUAvg", "GPUMax", "GPUMin"] = "CPUTotal"
    profile_path: str = "./profiler_log"
    timer_only: bool = True
    exit_on_finished: bool = True

    @field_validator("sorted_key", mode="before")
    @classmethod
    def _upstream_names(cls, value: str) -> str:
        return {"total": "CPUTotal", "ave": "CPUAvg", "max": "CPUMax", "min": "CPUMin"}.get(value, value)

    @field_validator("batch_range")
    @classmethod
    def _increasing(cls, value: tuple[int, int]) -> tuple[int, int]:
        if value[0] >= value[1]:
            raise ValueError(f"the first batch must come before the last, found {list(value)}")
        return value


def parse_profiler(text: str) -> ProfilerOptions:
    """The options that a `-p` argument gives.

    Raises:
        ConfigError: not `key=value;key=value`, an unknown key or a wrong value.
    """
    values = {}
    for pair in filter(None, (part.strip() for part in text.split(";"))):
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"-p {one_line(text, 200)}: expected key=value;key=value, found {shortened(pair)}")
        try:
            values[key.strip()] = parse_value(value)
        except UnfitError as error:
            raise ConfigError(f"-p {shortened(key)}: {problem_of(error)[1]}") from None
    try:
        return ProfilerOptions.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error, values, "-p"))) from None
