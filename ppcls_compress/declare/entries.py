"""Registries of options classes, and the two ways in which a YAML names one of them.

`{Name: {option: value}}` in a list (`listed`), as transforms, losses and metrics are written; `{name: Name, option:
value}` (`named`), as optimizers, schedules, data sets and samplers are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar, Union

from pydantic import BeforeValidator, Discriminator, PlainSerializer, Tag

from ppcls_compress.declare.options import Options, at_key
from ppcls_compress.errors import shortened, unknown
from ppcls_compress.registry import Registry

T = TypeVar("T", bound=Options)


class Declarations(Registry[type[T]]):
    """A registry whose entries are options classes, each under the name of the class."""

    def declare(self, cls: type[T]) -> type[T]:
        """Decorator that files a class under its own name.

        Raises:
            ValueError: the name is taken.
        """
        return self.register(cls.__name__)(cls)

    def name_of(self, options: Options) -> str:
        """The name that a configuration has for an object of a registered class."""
        return next(name for name in self if self.get(name) is type(options))


def listed(declarations: Declarations[T]) -> Any:
    """The type of one list entry: `{Name: {option: value}}`, `{Name: null}`, `Name`, or a ready options object."""

    def entry(value: Any) -> Any:
        if isinstance(value, Options):
            return value
        one = {value: None} if isinstance(value, str) else value
        if not isinstance(one, Mapping) or len(one) != 1:
            raise ValueError(
                f"expected one {declarations.kind}, written {{Name: {{option: value}}}}, found {shortened(value)}"
            )
        (name,) = one
        if name not in declarations:
            raise ValueError(unknown(declarations.kind, name, declarations))
        return one

    def unwrap(value: Mapping[str, Any]) -> Any:
        (inner,) = value.values()
        return {} if inner is None else inner

    return _one_of(
        declarations,
        entry,
        name_in=lambda value: next(iter(value)),
        unwrap=unwrap,
        dump=lambda options: {declarations.name_of(options): options.model_dump(mode="json", exclude_none=True)},
    )


def named(declarations: Declarations[T], *, default: str | None = None, example: str | None = None) -> Any:
    """The type of a section `{name: Name, option: value}`, or of a ready options object.

    Args:
        default: what a section without `name` means; None demands one.
        example: how a YAML writes it, for the error where it gives a plain value instead.
    """

    def section(value: Any) -> Any:
        if isinstance(value, Options):
            return value
        if not isinstance(value, Mapping):
            shape = example or f"{{name: {declarations.kind}, option: value}}"
            raise ValueError(f"expected a section, a dictionary such as {shape}, found {shortened(value)}")
        found = {"name": default, **value}
        if found["name"] is None:
            raise at_key("name", f"required, but not given; allowed: {', '.join(declarations)}")
        if found["name"] not in declarations:
            raise at_key("name", unknown(declarations.kind, found["name"], declarations))
        return found

    return _one_of(
        declarations,
        section,
        name_in=lambda value: value["name"],
        unwrap=lambda value: {key: option for key, option in value.items() if key != "name"},
        dump=lambda options: {"name": declarations.name_of(options), **options.model_dump(mode="json")},
    )


class _Nothing(Options):
    """Makes a registry of one entry a union too, because pydantic tells of a union's members alone which it was."""


def _one_of(
    declarations: Declarations[T],
    check: Callable[[Any], Any],
    *,
    name_in: Callable[[Mapping[str, Any]], str],
    unwrap: Callable[[Mapping[str, Any]], Any],
    dump: Callable[[Options], dict[str, Any]],
) -> Any:
    def options(value: Any) -> Any:
        return value if isinstance(value, Options) else unwrap(value)

    def tag(value: Any) -> str | None:
        if not isinstance(value, Options):
            return name_in(value)
        return next((name for name in declarations if declarations.get(name) is type(value)), None)

    members = tuple(Annotated[declarations.get(name), BeforeValidator(options), Tag(name)] for name in declarations)
    choice = Union[*members, Annotated[_Nothing, Tag("")]]
    return Annotated[choice, Discriminator(tag), BeforeValidator(check), PlainSerializer(dump)]
