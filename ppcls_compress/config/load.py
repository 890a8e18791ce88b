"""Files and overrides in, a validated configuration out; every problem is one line with the key's path."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ppcls_compress.config.bases import KEY, base_of, check_chain, merged
from ppcls_compress.config.foreign import check_ours
from ppcls_compress.config.overrides import apply_override
from ppcls_compress.config.schema import Config
from ppcls_compress.config.yaml_text import MAX_BYTES, parse_yaml, problem_of
from ppcls_compress.data.datasets import DATASETS
from ppcls_compress.declare.paths import instead_of
from ppcls_compress.errors import ConfigError, UserError, closest, cut, one_line, shortened
from ppcls_compress.text import read_text

_PATH_KEYS = {
    "checkpoints",
    "class_id_map_file",
    "infer_imgs",
    "output_dir",
    "pretrained",
    "pretrained_model",
    "save_inference_dir",
    "teacher",
    *(path for name in DATASETS for path in DATASETS.get(name).paths),
}


def load_config(path: str | os.PathLike[str], overrides: Iterable[str] = ()) -> Config:
    """Read a YAML file and its `_BASE_`, apply `-o` overrides, validate.

    `$NAME` in a path is replaced where the variable is set.

    Raises:
        ConfigError: one line for each problem: file (and line for broken YAML), key path, what was found, what is
            allowed.
    """
    data, source = read_overridden(path, overrides)
    return validate(data, source=source)


def read_overridden(path: str | os.PathLike[str], overrides: Iterable[str] = ()) -> tuple[dict[str, Any], str]:
    """What `load_config` validates, as a plain dictionary that stands on nothing else; and its name in errors.

    Raises:
        ConfigError: a file cannot be read, or an override does not fit.
    """
    data, files = read_with_bases(path)
    for override in overrides:
        apply_override(data, override)
    on = f" (on {', '.join(map(str, files[1:]))})" if files[1:] else ""
    return expand_variables(data), f"{path}{on}"


def read_with_bases(path: str | os.PathLike[str]) -> tuple[dict[str, Any], list[Path]]:
    """The mapping in a YAML file on top of those that `_BASE_` names, see `bases`; and the files, the given one first.

    Raises:
        ConfigError: a file cannot be read, see `read_yaml`, or must not be a base.
    """
    files, contents = [Path(path)], []
    while True:
        contents.append(read_yaml(files[-1]))
        base = base_of(contents[-1], files[-1])
        if base is None:
            break
        files.append(base)
        check_chain(files)
        if not base.exists():
            raise ConfigError(f"{files[-2]}: {KEY}: {base}: {_not_there(base)}")
    data = contents.pop()
    while contents:
        data = merged(data, contents.pop())
    return data, files


def validate(data: dict[str, Any], *, source: str) -> Config:
    """The configuration that a plain dictionary describes; `source` names it in errors.

    Raises:
        ConfigError: as `load_config`.
        ForeignFileError: a file that another tool runs.
    """
    check_ours(data, source)
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error, data, source))) from None


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The mapping in a YAML file, by safe loading; a key given twice is refused.

    Raises:
        ConfigError: no such file, not YAML, not a mapping.
    """
    path = Path(path)
    if not path.exists():
        raise ConfigError(f"{path}: {_not_there(path)}")
    try:
        data = parse_yaml(read_text(path, limit=MAX_BYTES))
    except UserError as error:
        raise ConfigError(str(error)) from None
    except yaml.YAMLError as error:
        line, problem = problem_of(error)
        raise ConfigError(f"{path}{f', line {line}' if line else ''}: {problem}") from None
    if not isinstance(data, dict):
        found = "nothing" if data is None else shortened(data)
        raise ConfigError(f"{path}: expected sections such as Global, Arch, Optimizer; found {found}")
    return data


def expand_variables(data: Any, key: str | None = None) -> Any:
    """The same structure with `$NAME` and `~` expanded in the values of path keys; unset variables stay."""
    if isinstance(data, dict):
        return {name: expand_variables(value, name) for name, value in data.items()}
    if isinstance(data, list):
        return [expand_variables(value, key) for value in data]
    if isinstance(data, str) and key in _PATH_KEYS:
        return os.path.expanduser(os.path.expandvars(data))
    return data


def _not_there(path: Path) -> str:
    if not path.parent.is_dir():
        return f"no such file{instead_of(path)}"
    siblings = [str(other) for other in path.parent.glob("*.y*ml")]
    match = closest(str(path), siblings)
    return "no such file" + (f"; did you mean {match}?" if match else "")


def explain(error: ValidationError, data: dict[str, Any], source: str) -> list[str]:
    """One line for each key that pydantic refused in `data`: `source`, key path, what was found, what is allowed."""
    lines: dict[str, list[str]] = {}
    problems = error.errors(include_url=False)
    deeper = {location[:depth] for location in (p["loc"] for p in problems) for depth in range(len(location))}
    for problem in problems:
        if problem["type"] == "too_short" and problem["loc"] in deeper:
            continue  # pydantic counts only the valid entries of a list; the invalid ones are told already
        path = _key_path(problem["loc"], data, missing=problem["type"] == "missing")
        if problem["type"] == "at_key":
            path = ".".join(part for part in (path, problem["ctx"]["key"]) if part)
        lines.setdefault(path, []).append(_message(problem))
    return [
        f"{source}: {path + ': ' if path else ''}{' or '.join(list(dict.fromkeys(texts))[:_ALTERNATIVES])}"
        for path, texts in lines.items()
    ]


_ALTERNATIVES = 3
"""Of what is wrong with one value; a text where a list is due has one for each letter."""


def _key_path(location: Sequence[str | int], data: Any, *, missing: bool) -> str:
    """The keys of `location` as the user wrote them: pydantic also names the member of a union, which is left out."""
    path, node = [], data
    for depth, part in enumerate(location):
        inside = (isinstance(node, dict) and part in node) or (
            isinstance(node, list | tuple) and isinstance(part, int) and part < len(node)
        )
        if inside:
            node = node[part]
            path.append(str(part))
        elif missing and depth == len(location) - 1:
            path.append(str(part))
    return cut(".".join(path), 200)


def _message(problem: Any) -> str:
    kind, context, found = problem["type"], problem.get("ctx", {}), problem["input"]
    if kind in ("unknown_key", "at_key", "no_section"):
        return context["text"]
    if kind == "missing":
        return "required, but not given"
    if kind == "too_short":
        return f"expected a list of at least {context['min_length']}, found {shortened(found)}"
    if kind == "value_error":
        return one_line(context["error"], 600)
    if kind in ("union_tag_invalid", "literal_error"):
        value = context.get("tag", found)
        allowed = context.get("expected_tags") or context.get("expected", "")
        choices = [choice.strip("' ") for choice in allowed.replace(" or ", ", ").split(",")]
        match = closest(value, choices)
        return f"found {shortened(value)}{f'; did you mean {match!r}?' if match else ';'} allowed: {', '.join(choices)}"
    text = problem["msg"].replace("Input should be", "expected").replace("List should", "the list should")
    text = text.replace("a valid tuple", "a list")  # YAML has no other
    return f"{text}, found {shortened(found)}"
