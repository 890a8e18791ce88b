"""YAML text to plain values: dictionaries, lists, texts, numbers, booleans and null, and nothing else."""

from __future__ import annotations

from typing import Any, ClassVar

import yaml

_TIMESTAMP = "tag:yaml.org,2002:timestamp"


def parse_yaml(text: str) -> Any:
    """The value of a YAML document, by safe loading; a key given twice is refused, a date stays the text that it is.

    Raises:
        yaml.YAMLError: the text is not YAML, contains itself through an anchor, or is nested too deeply to be read.
    """
    try:
        return _PlainLoader(text).get_single_data()
    except RecursionError:
        raise yaml.YAMLError("nested too deeply") from None


def problem_of(error: yaml.YAMLError) -> tuple[int | None, str]:
    """The line, counted from 1, and what is wrong there, as far as the error knows."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).partition("\n")[0] or "not YAML"
    return (mark.line + 1 if mark else None), problem


class _PlainLoader(yaml.SafeLoader):
    """YAML keeps the last of two equal keys without a word; a typo in a long config should not hide like that.

    No option is a date, but a folder may well be named like one, so dates are left as text.
    """

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        # Only deep construction notices an anchor inside itself. The constructors of explicitly tagged scalars, such as
        # `!!int x` or `!!bool x`, fail with whatever the conversion raises.
        try:
            return super().construct_object(node, deep=True)
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(None, None, f"not a valid {kind}", node.start_mark) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):
            return super().construct_mapping(node, deep=deep)
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node)
            if isinstance(key, str | int) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            if isinstance(key, str | int):
                seen.add(key)
        return super().construct_mapping(node, deep=deep)
