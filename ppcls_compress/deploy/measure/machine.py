"""What this machine's processor can do, as far as the speed of int8 and float networks depends on it (Linux)."""

from __future__ import annotations

import os
import platform
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")
_INT8_DOT = ("avx512_vnni", "avx_vnni", "asimddp")
_VECTORS = ("avx", "amx", "sve", "asimd", "i8mm", "bf16")
BFLOAT16 = ("avx512_bf16", "amx_bf16")
"""Any of them: runtimes may compute float networks in bfloat16."""


def cpu_name(info: Path = _CPU_INFO) -> str:
    """The processor's model, or its architecture where the system does not tell."""
    return _field(info, "model name") or platform.processor() or platform.machine()


def cores() -> list[int]:
    """The numbers of the cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


def has_bfloat16(info: Path = _CPU_INFO) -> bool:
    """Whether runtimes may compute float networks in bfloat16."""
    return bool(_features(info).intersection(BFLOAT16))


def instructions(info: Path = _CPU_INFO) -> list[str]:
    """What the processor knows beyond the base of its architecture, as far as the speed of networks depends on it."""
    return sorted(feature for feature in _features(info) if feature.startswith(_VECTORS))


def int8_note(info: Path = _CPU_INFO) -> str | None:
    """A line for the user if int8 networks gain little on this processor, or None."""
    features = _features(info)
    if not features:
        return "this system does not tell what its processor can do; without int8 dot products int8 gains little"
    if features.intersection(_INT8_DOT):
        return None
    return (
        "this processor has neither avx512_vnni nor avx_vnni: int8 gains little here, and sums of products of unsigned "
        "and signed integers can saturate in ONNX Runtime"
    )


def _features(info: Path) -> set[str]:
    return set((_field(info, "flags") or _field(info, "Features")).split())


def _field(info: Path, name: str) -> str:
    """The first value of a field in the format of /proc/cpuinfo; empty where there is none."""
    if not info.is_file():
        return ""
    for line in info.read_text(encoding="utf-8").splitlines():
        field, _, value = line.partition(":")
        if field.strip() == name:
            return value.strip()
    return ""
