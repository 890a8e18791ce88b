"""Paths that a configuration gives: whether they are there, and what is wrong where they are not."""

from __future__ import annotations

import re
from pathlib import Path

from ppcls_compress.errors import ConfigError, closest, shortened


def exists(text: str) -> bool:
    """Whether a configured path is there; one with a variable that is not set is not."""
    return Path(text).exists()


def check_possible(key: str, text: str) -> None:
    """Refuse a text that no file can be called by.

    Raises:
        ConfigError: it is too long, or has a character that names do not have.
    """
    try:
        Path(text).exists()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{key}: {shortened(text)} cannot be a path: {reason}") from None


def check_path(key: str, text: str, kind: str) -> Path:
    """The path that `key` gives, which must be an existing `file` or `folder`.

    Raises:
        ConfigError: it is not there; the message names the first missing part, or the variable that is not set.
    """
    check_possible(key, text)
    if "\\" in text and Path(text.replace("\\", "/")).exists():
        raise ConfigError(f"{key}: {text} does not exist; write / between folders, where it has \\")
    unset = re.search(r"\$\{?(\w+)", text)
    if unset:
        raise ConfigError(f"{key}: {text} uses ${unset.group(1)}, which is not set; export it, or give a plain path")
    path = Path(text)
    if (path.is_file() if kind == "file" else path.is_dir()) or (kind == "any" and path.exists()):
        return path
    if path.exists():
        raise ConfigError(f"{key}: {path} is not a {kind}")
    if "*" in path.name:
        raise ConfigError(f"{key}: {path} does not exist; patterns are not expanded, name the folder")
    raise ConfigError(f"{key}: {path} does not exist{instead_of(path)}")


def instead_of(path: Path) -> str:
    """What to say after that a path is not there: what is there and called nearly so, or from where on nothing is."""
    parent = path.parent
    while not parent.is_dir() and parent != parent.parent:
        parent = parent.parent
    first, *rest = path.relative_to(parent).parts
    try:
        match = closest(first, [other.name for other in parent.iterdir()])
    except OSError:  # may not be looked into
        match = None
    if match is None:
        return f"; there is nothing at {parent / first}" if rest else ""
    whole = (parent / match).joinpath(*rest)
    return f"; did you mean {whole if whole.exists() else parent / match}?"


def weights_folder(path: Path) -> str | None:
    """What to say of a folder where the path of weights is due; None if it is no folder."""
    if not path.is_dir():
        return None
    if (path / "inference.yml").is_file():
        return f"{path} holds an exported model, which --artifact takes; weights are a checkpoint of training"
    found = sorted(entry.with_suffix("") for entry in path.glob("*.pdparams"))
    best = next((entry for entry in found if entry.name == "best_model"), found[0] if found else None)
    if best is None:
        return f"{path} is a folder, and there are no weights (.pdparams) in it"
    return f"{path} is a folder; name the weights in it, such as {best}"
