"""Artifacts loaded into a runtime of their format, and those that must not be."""

from __future__ import annotations

from ppcls_compress.deploy.artifact import Artifact
from ppcls_compress.deploy.formats import get
from ppcls_compress.deploy.kinds import Session
from ppcls_compress.errors import UserError


def open_session(exported: Artifact, threads: int, runtime: str | None = None) -> Session:
    """Load the network of an artifact into a runtime of its format, None for the format's own, in the setting it needs.

    Raises:
        MissingDependencyError: the runtime is not installed.
        UserError: the format is not known or does not run there, or the runtime refuses the files.
    """
    kind = get(exported.description.format)
    chosen = kind.runtime(runtime)
    lacking = [name for name in kind.files if name not in exported.files]
    if lacking:
        raise UserError(f"{exported.directory}: has no {', '.join(lacking)}, which the format {kind.name} consists of")
    chosen.require()
    return chosen.opener(setting(exported, runtime))(exported.directory, threads)


def setting(exported: Artifact, runtime: str | None = None) -> str:
    """The setting in which a runtime of an artifact's format, None for its own, runs it; empty for the usual one."""
    kind = get(exported.description.format)
    return exported.description.setting if kind.runtime(runtime) == kind.runtime() else ""


def manner(exported: Artifact, runtime: str | None = None) -> str:
    """How a runtime of an artifact's format runs it, where that is not as usual: `bfloat16`; empty otherwise.

    Raises:
        UserError: the format is not known or does not run there, or the runtime has no such setting.
    """
    return get(exported.description.format).runtime(runtime).manner(setting(exported, runtime))


def title(exported: Artifact, runtime: str | None = None) -> str:
    """What runs an artifact, and how where that is not as usual: `OpenVINO, bfloat16`.

    Raises:
        UserError: as for `manner`.
    """
    parts = get(exported.description.format).runtime(runtime).title, manner(exported, runtime)
    return ", ".join(filter(None, parts))


ELSEWHERE = "elsewhere"
"""In what an artifact tells of its comparison: what was found in further runtimes, by name."""


def refusal(exported: Artifact, runtime: str | None) -> str | None:
    """Why an artifact must not be used in a runtime of its format, or None.

    One that was compared with its model has proven itself in the runtimes that it was compared in, and in no other.
    """
    found, chosen = exported.description.parity, get(exported.description.format).runtime(runtime)
    if not found or chosen == get(exported.description.format).runtime():
        return None
    there = found.get(ELSEWHERE, {}).get(chosen.name)
    if there is None:
        return f"was not compared with its model in {chosen.title}; export it again where that is installed"
    problem = there.get("problem")
    return None if problem is None else f"failed the comparison with its model in {chosen.title}: {problem}"
