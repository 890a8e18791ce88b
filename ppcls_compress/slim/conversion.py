"""Paddle's conversion of Python code for programs, once for each function and not for each layer that has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import paddle
from paddle.jit.dy2static import convert_call_func, program_translator

from ppcls_compress.slim.exchanging import exchanged


@contextmanager
def converted_once() -> Iterator[None]:
    """Shares conversions among the methods of objects of one class while programs are built within.

    Paddle keeps them by the bound method, an object that is gone after the call, and so converts the forward pass of a
    class anew for each of its layers. It also goes through all functions of NumPy and of other packages at every call,
    to see whether it is one of these. For a network of many small layers, this is most of the time that saving takes.
    """
    cache = _ByFunction(program_translator._FUNCTION_CACHE)
    with (
        exchanged(program_translator, "_FUNCTION_CACHE", cache),
        exchanged(convert_call_func, "is_unsupported", _asked_once(convert_call_func.is_unsupported)),
    ):
        yield


def prepare() -> None:
    """Have Paddle list the functions of other packages now, and not in each of the processes that are forked later."""
    convert_call_func.is_unsupported(prepare)


class _ByFunction(program_translator.FunctionCache):
    """As Paddle's cache of converted functions, which it asks for all but methods.

    A converted function holds the globals of its module as they were, so that methods are converted anew for each
    program; what source text becomes is Paddle's to keep.
    """

    def __init__(self, cache: program_translator.FunctionCache) -> None:
        super().__init__()
        self._cache = cache
        self._code_to_ast_caches = cache._code_to_ast_caches
        self._methods: dict[Callable[..., Any], Callable[..., Any]] = {}

    def convert_with_cache(self, func: Callable[..., Any]) -> Callable[..., Any]:
        own = getattr(func, "__func__", None)
        if own is None:
            return self._cache.convert_with_cache(func)
        if own not in self._methods:
            self._methods[own] = self._convert(func)
        return self._methods[own]


def _asked_once(ask: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """`is_unsupported`, with its answers kept: for methods by their function, for layers by their class."""
    answers: dict[Any, bool] = {}

    def is_unsupported(function: Any) -> bool:
        key = getattr(function, "__func__", function)
        if isinstance(function, paddle.nn.Layer):
            if "forward" in vars(function):
                return ask(function)
            key = type(function)
        try:
            known = answers.get(key)
        except TypeError:  # it cannot be a key
            return ask(function)
        if known is None:
            known = answers[key] = ask(function)
        return known

    return is_unsupported
