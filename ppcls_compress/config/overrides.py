"""`-o key.path=value`: one value of the configuration replaced from the command line."""

from __future__ import annotations

import ast
from typing import Any

import yaml

from ppcls_compress.config.yaml_text import MAX_DEPTH, UnfitError, check_plain, parse_yaml, problem_of
from ppcls_compress.errors import ConfigError, one_line, shortened

_LONGEST_INDEX = 9


def apply_override(data: dict[str, Any], text: str) -> None:
    """Set the value that `text` names, in place; parts of the path are dictionary keys or list indices.

    Missing dictionaries on the way are made; whether the key exists at all is the schema's business.

    Raises:
        ConfigError: no `=`, an empty path, a list index that does not exist, or a path through a plain value.
    """
    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    shown = f"-o {one_line(text, 200)}"
    if not equals or not all(keys):
        raise ConfigError(
            f"{shown}: expected key.path=value, such as -o Global.epochs=10; "
            "a value with spaces needs quotes: -o 'Slim.prune={name: fpgm}'"
        )
    if len(keys) > MAX_DEPTH:
        raise ConfigError(f"{shown}: a path of {len(keys)} keys; no section is more than {MAX_DEPTH} deep")
    try:
        new = parse_value(value)
    except UnfitError as error:
        raise ConfigError(f"{shown}: {problem_of(error)[1]}") from None
    node: Any = data
    for depth, key in enumerate(keys[:-1]):
        node = _child(node, key, where=f"{shown}: {one_line('.'.join(keys[: depth + 1]), 100)}")
    last = keys[-1]
    if isinstance(node, list):
        node[_index(node, last, where=f"{shown}: {one_line(path, 100)}")] = new
    else:
        node[last] = new


def parse_value(text: str) -> Any:
    """A Python literal (`[3, 32, 32]`, `True`, `None`), a YAML value (`null`, `{a: 1}`), or else the text itself.

    Raises:
        UnfitError: a value that no option can have, see `yaml_text`.
    """
    text = text.strip()
    try:
        return check_plain(ast.literal_eval(text))
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError, UnfitError):
        pass
    try:
        return parse_yaml(text)
    except UnfitError:
        raise
    except yaml.YAMLError:
        return check_plain(text)


def _child(node: Any, key: str, *, where: str) -> Any:
    if isinstance(node, list):
        index = _index(node, key, where=where)
        container, slot = node, index
    else:
        container, slot = node, key
        node.setdefault(key, None)
    if container[slot] is None:
        container[slot] = {}
    if not isinstance(container[slot], dict | list):
        raise ConfigError(f"{where} is the value {shortened(container[slot])}, not a section with keys of its own")
    return container[slot]


def _index(node: list[Any], key: str, *, where: str) -> int:
    if not key.isdecimal() or len(key) > _LONGEST_INDEX or int(key) >= len(node):
        raise ConfigError(f"{where} is not an entry of a list of {len(node)}; allowed: 0 to {len(node) - 1}")
    return int(key)
