"""YAML text to plain values: dictionaries, lists, texts, numbers, booleans and null, and nothing else.

All limits are far above what a configuration or the description of an exported model needs. They are kept while the
text is parsed, so that a few bytes cannot ask for much time or memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar

import yaml

from ppcls_compress.errors import shortened

MAX_BYTES = 2**21
"""Of a file."""
MAX_VALUES = 50_000
"""Dictionaries, lists and single values, keys included, everything that an anchor stands for counted wherever it is."""
MAX_DEPTH = 50
"""Of lists and dictionaries inside one another."""

_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_INT = "tag:yaml.org,2002:int"
_LONGEST_NUMBER = 200
"""Characters; Python takes the square of the digits in time, and refuses some thousand."""
_OCTAL = re.compile(r"[-+]?0[0-9_]+")


class UnfitError(yaml.MarkedYAMLError):
    """YAML, but more of it, deeper, or of another kind than any option takes."""


def parse_yaml(text: str) -> Any:
    """The value of a YAML document, by safe loading; a key given twice is refused, a date stays the text that it is.

    Raises:
        UnfitError: it has more values than the limits of this module, deeper ones, or one that `check_plain` refuses.
        yaml.YAMLError: the text is not YAML, or contains itself through an anchor.
    """
    return _unshared(_PlainLoader(text).get_single_data())


def _unshared(value: Any) -> Any:
    """A copy in which what an alias stands for is a value of its own: an override changes one place, not both."""
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unshared(item) for item in value]
    return value


def problem_of(error: yaml.YAMLError) -> tuple[int | None, str]:
    """The line, counted from 1, and what is wrong there, as far as the error knows."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).partition("\n")[0] or "not YAML"
    return (mark.line + 1 if mark else None), problem


def check_plain(value: Any) -> Any:
    """`value` itself, if it is made of dictionaries, lists, texts, numbers, booleans and None.

    Raises:
        UnfitError: a whole number does not fit into 64 bits, a text holds a NUL or half a character, or a value is of
            another kind.
    """
    if isinstance(value, dict):
        for pair in value.items():
            check_plain(pair)
    elif isinstance(value, list | tuple):
        for item in value:
            check_plain(item)
    elif (problem := _unfit(value)) is not None:
        raise UnfitError(problem=problem)
    return value


def _unfit(value: Any) -> str | None:
    """Why no option can have a single value, or None."""
    if isinstance(value, str):
        if "\0" in value:
            return f"{shortened(value)} holds a NUL character"
        if any("\ud800" <= character <= "\udfff" for character in value):
            return f"{shortened(value)} holds half a character"
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            return f"a whole number of {value.bit_length()} bits, where 64 are admitted"
    elif not isinstance(value, dict | list | tuple | float | type(None)):
        return f"a {type(value).__name__}, which is the value of no option"
    return None


class _PlainLoader(yaml.SafeLoader):
    """YAML keeps the last of two equal keys without a word; a typo in a long config should not hide like that.

    No option is a date, but a folder may well be named like one, so dates are left as text.
    """

    yaml_implicit_resolvers: ClassVar[dict] = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._values = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        self._values += 1
        if self._values > MAX_VALUES:
            raise _unfit_at(self.peek_event().start_mark, f"more than {MAX_VALUES:,} values")
        if self._depth > MAX_DEPTH:
            raise _unfit_at(self.peek_event().start_mark, f"nested more than {MAX_DEPTH} levels deep")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            _check_expanded(node)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        # Only deep construction makes values in the order of the text. The constructors of explicitly tagged scalars,
        # such as `!!int x` or `!!bool x`, fail with whatever the conversion raises.
        try:
            value = super().construct_object(node, deep=True)
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(None, None, f"not a valid {kind}", node.start_mark) from error
        if (problem := _unfit(value)) is not None:
            raise _unfit_at(node.start_mark, problem)
        return value

    def construct_whole_number(self, node: yaml.ScalarNode) -> int:
        """The number, unless YAML reads another one than a person does."""
        text = self.construct_scalar(node)
        if len(text) > _LONGEST_NUMBER:
            raise _unfit_at(node.start_mark, f"a whole number of {len(text):,} digits, where 64 bits are admitted")
        if _OCTAL.fullmatch(text):
            raise _unfit_at(node.start_mark, f"{shortened(text)} is octal in YAML; leave the leading zero out")
        if ":" in text:
            raise _unfit_at(node.start_mark, f"{shortened(text)} counts in sixties in YAML; write it in quotes")
        return self.construct_yaml_int(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):
            return super().construct_mapping(node, deep=deep)
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node)
            if isinstance(key, str | int) and key in seen:
                problem = f"key {shortened(key)} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            if isinstance(key, str | int):
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


_PlainLoader.add_constructor(_INT, _PlainLoader.construct_whole_number)


def _unfit_at(mark: yaml.Mark, problem: str) -> UnfitError:
    return UnfitError(problem=problem, problem_mark=mark)


def _check_expanded(root: yaml.Node) -> None:
    """Counts what the document holds with each alias in place of what it stands for, by one visit to each node."""
    counts: dict[int, int] = {}

    def count(node: yaml.Node) -> int:
        if id(node) not in counts:
            counts[id(node)] = 0  # until it is known; a node that is met meanwhile is inside itself
            counts[id(node)] = 1 + sum(map(count, _children(node)))
        if not counts[id(node)]:
            raise yaml.constructor.ConstructorError(None, None, "a value that contains itself", node.start_mark)
        return counts[id(node)]

    if count(root) > MAX_VALUES:
        raise _unfit_at(root.start_mark, f"its aliases stand for more than {MAX_VALUES:,} values")


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value
