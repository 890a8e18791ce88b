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
KERNELS = "MKL_DEBUG_CPU_TYPE"
"""Environment variable by which the MKL of 2019, which PaddlePaddle brings, takes code for an instruction set."""
_KERNELS_FOR = {"7": ("avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"), "5": ("avx2", "fma")}
"""Its values, best first, and what their code takes for granted; 6 is the fastest for small networks, but for the
processors called Knights Landing, which had instructions that no other has."""


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
        "and signed integers can saturate in ONNX Runtime, OpenVINO and oneDNN"
    )


def matrix_kernels(info: Path = _CPU_INFO) -> str | None:
    """The value of `KERNELS` that lets PaddlePaddle multiply matrices by the best code this processor has.

    Its MKL looks at the maker's name, and has processors of any other than Intel do with SSE2: a convolution, forward
    or backward, then takes two to four times as long. None where its own choice is right.
    """
    if _field(info, "vendor_id") not in ("AuthenticAMD", "HygonGenuine"):
        return None
    features = _features(info)
    return next((kind for kind, needed in _KERNELS_FOR.items() if features.issuperset(needed)), None)


def let_paddle_use_it(info: Path = _CPU_INFO) -> None:
    """Set `KERNELS` for this process and those it starts, unless the user has: MKL reads it at its first product."""
    kind = matrix_kernels(info)
    if kind is not None:
        os.environ.setdefault(KERNELS, kind)


def _features(info: Path) -> set[str]:
    return set((_field(info, "flags") or _field(info, "Features")).split())


def _field(info: Path, name: str) -> str:
    """The first value of a field in the format of /proc/cpuinfo; empty where there is none."""
    if not info.is_file():
        return ""
    with info.open(encoding="utf-8") as lines:  # not read to its end: it has a part for every core
        for line in lines:
            field, _, value = line.partition(":")
            if field.strip() == name:
                return value.strip()
    return ""
