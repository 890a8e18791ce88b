"""Explicit registries: a name in a config, an object in the code, one place where they meet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from ppcls_compress.errors import ConfigError, unknown

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps names to objects of one kind.

    Example:
        >>> criteria = Registry("pruning criterion")
        >>> @criteria.register("l1_norm")
        ... def l1_norm(weight): ...
        >>> criteria.get("l1_norm")
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files an object under `name`.

        Raises:
            ValueError: the name is taken.
        """

        def add(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return add

    def get(self, name: str, *, where: str | None = None) -> T:
        """The object filed under `name`; `where` is the config key to blame in the error.

        Raises:
            ConfigError: no such name.
        """
        if name not in self:
            raise ConfigError((f"{where}: " if where else "") + unknown(self.kind, name, self._entries))
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._entries  # a YAML may give a list or a section for a name

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)
