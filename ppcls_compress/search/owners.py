"""Which process has a job, so that others can tell whether it still runs."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def me() -> str:
    """This process: where it runs, its number there, and when it began."""
    return f"{_here()} {os.getpid()} {_start_of(os.getpid())}"


def ended(owner: str) -> bool:
    """Whether a process, as `me` told it, ran where this one does, and does no more."""
    place, _, rest = owner.partition(" ")
    if place != _here():
        return False
    process, _, start = rest.partition(" ")
    return _start_of(int(process)) != start


def _here() -> str:
    """Where numbers of processes mean the same; containers may share a name and have numbers of their own."""
    boot, numbers = "", ""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        numbers = os.readlink("/proc/self/ns/pid")
    except OSError:
        pass
    return f"{socket.gethostname()}/{boot}/{numbers}"


def _start_of(process: int) -> str:
    """When a process of this machine began, in ticks since the machine did; empty where there is none."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]
