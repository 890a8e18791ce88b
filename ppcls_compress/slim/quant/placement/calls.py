"""Layers that a network calls more than once: which call is under way, and parts of which each is for one call.

A call is known by the calls around it, not by a count over the whole forward pass, so that it stays the same when parts
of the network are left out, run alone, or run again for their gradients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import paddle

from ppcls_compress.errors import UserError
from ppcls_compress.slim.graph import Call, Site
from ppcls_compress.slim.quant.quantizers.base import ActivationQuantizer


def repeated(calls: Iterable[Call]) -> set[str]:
    """The layers that are called more than once."""
    return {layer for layer, times in Counter(call.layer for call in calls).items() if times > 1}


def numbered(calls: Iterable[Call], several: Collection[str]) -> list[tuple[Call, int | None]]:
    """Each call with its number among those of its layer, from 0; None for a layer that is not one of several calls."""
    seen: Counter[str] = Counter()
    found: list[tuple[Call, int | None]] = []
    for call in calls:
        found.append((call, seen[call.layer] if call.layer in several else None))
        seen[call.layer] += 1
    return found


Expected = dict[Site, dict[str, int]]
"""By a call that encloses others, () for the network itself: how often each layer is called within it."""


def expected(sites: Mapping[str, Sequence[Site]]) -> Expected:
    """What the sites of some layers say of the calls around them."""
    found: Expected = {}
    for site in (site for own in sites.values() for site in own):
        for depth, (path, count) in enumerate(site):
            inside = found.setdefault(site[:depth], {})
            inside[path] = max(inside.get(path, 0), count + 1)
    return found


def check_training(sites: Mapping[str, Sequence[Site]], calls: Iterable[Call]) -> None:
    """Whether calls in training can be told apart as those at the sites are.

    Args:
        sites: of layers that are called more than once, their calls in evaluation.
        calls: of all layers in training.

    Raises:
        UserError: a layer is called more or less often in training.
    """
    found: dict[Site, Counter[str]] = {}
    for call in calls:
        found.setdefault(call.site[:-1], Counter())[call.layer] += 1
    for site, inside in expected(sites).items():
        _check(site, inside, found.get(site, Counter()), "in training")


def _check(site: Site, inside: Mapping[str, int], found: Mapping[str, int], where: str) -> None:
    for path, times in inside.items():
        if found.get(path, 0) not in (0, times):
            around = site[-1][0] if site else "the network"
            raise UserError(
                f"{path}: {around} calls it {_times(times)} in evaluation and {_times(found[path])} {where}, so that "
                "placement: deploy cannot tell its calls apart; give each call a layer of its own"
            )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


@dataclass
class _Open:
    """A call under way, and how often what it calls was called so far."""

    site: Site
    counts: Counter[str] = field(default_factory=Counter)


_CALLING_NONE = ("paddle.", "ppcls_compress.slim.quant.")
"""Where the layers are defined that call none but their own."""


class Calls:
    """Follows a network's forward pass.

    Args:
        sites: of each layer that is called more than once, in order.
    """

    def __init__(self, sites: Mapping[str, Sequence[Site]]) -> None:
        self.sites = {layer: tuple(own) for layer, own in sites.items()}
        self._expected = expected(self.sites)
        self._network = _Open(())
        self._open: list[_Open] = []
        self._current: dict[str, int | None] = {}

    def current(self, layer: str) -> int | None:
        """The number of the layer's call that is under way, or was last; None for one that the trace did not have."""
        return self._current.get(layer)

    def attach(self, model: paddle.nn.Layer) -> None:
        """Follow a model's forward passes from now on.

        Raises:
            UserError: it has no layer of a name.
        """
        found = dict(model.named_sublayers())
        paths = dict.fromkeys(path for own in self.sites.values() for site in own for path, _ in site)
        missing = next((path for path in paths if path not in found), None)
        if missing is not None:
            raise UserError(f"the record names a layer that this model does not have: {missing}")
        for path, layer in found.items():
            if path in paths or not type(layer).__module__.startswith(_CALLING_NONE):
                layer.register_forward_pre_hook(_Hook(self, path, entering=True))
                layer.register_forward_post_hook(_Hook(self, path, entering=False))
        model.register_forward_pre_hook(_Hook(self, None, entering=True))
        model.register_forward_post_hook(_Hook(self, None, entering=False))

    def enter(self, path: str | None) -> None:
        """A call of a layer begins; None for the network itself."""
        if path is None:
            self._open, self._network = [], _Open(())
            return
        self._drop(path)  # what an error has left open
        around = self._open[-1] if self._open else self._network
        # Of a network that is not called itself, but by its forward, the counts go on from one pass to the next.
        number = around.counts[path] % self._expected.get(around.site, {}).get(path, 1)
        around.counts[path] += 1
        self._open.append(_Open((*around.site, (path, number))))
        if path in self.sites:
            self._current[path] = self._number(path, self._open[-1].site)

    def leave(self, path: str | None) -> None:
        """A call of a layer is over; None for the network itself.

        Raises:
            UserError: it did not call others as often as in the trace, so that their calls cannot be told apart.
        """
        left = self._network if path is None else self._drop(path)
        if left is not None:
            _check(left.site, self._expected.get(left.site, {}), left.counts, "in this forward pass")

    def _drop(self, path: str) -> _Open | None:
        """End a call, and those inside it."""
        for depth, call in enumerate(self._open):
            if call.site[-1][0] == path:
                del self._open[depth:]
                return call
        return None

    def _number(self, layer: str, site: Site) -> int | None:
        """Which call of a layer one is; a part of the network that is run alone does not know what is around it."""
        fitting = [number for number, known in enumerate(self.sites[layer]) if known[-len(site) :] == site]
        exact = [number for number in fitting if self.sites[layer][number] == site]
        return (exact or fitting)[0] if exact or len(fitting) == 1 else None


class _Hook:
    """A hook of a layer; an object, so that a copy of the network has hooks that follow the copy."""

    def __init__(self, calls: Calls, path: str | None, *, entering: bool) -> None:
        self._calls = calls
        self._path = path
        self._entering = entering

    def __call__(self, *_: Any) -> None:
        (self._calls.enter if self._entering else self._calls.leave)(self._path)


def detach(model: paddle.nn.Layer) -> None:
    """No longer follow a model's forward passes."""
    for layer in model.sublayers(include_self=True):
        for hooks in (layer._forward_pre_hooks, layer._forward_post_hooks):
            for key in [key for key, hook in hooks.items() if isinstance(hook, _Hook)]:
                del hooks[key]


class ByCall(paddle.nn.Layer):
    """Parts of which each is for one call of a layer; a call without one lets its tensor pass as it is.

    Args:
        calls: of the network that it is in.
        layer: whose calls.
        parts: by the number of the call.
    """

    quantizing = True

    def __init__(self, calls: Calls, layer: str, parts: Mapping[int, paddle.nn.Layer]) -> None:
        super().__init__()
        self._add(calls, layer, parts)

    def _add(self, calls: Calls, layer: str, parts: Mapping[int, paddle.nn.Layer]) -> None:
        self.calls, self.layer = calls, layer
        for number, part in parts.items():
            self.add_sublayer(str(number), part)

    def parts(self) -> dict[int, paddle.nn.Layer]:
        """By the number of the call."""
        return {int(number): part for number, part in self._sub_layers.items()}

    def number(self) -> int | None:
        """The number of the call that is under way."""
        return self.calls.current(self.layer)

    def current(self) -> paddle.nn.Layer | None:
        """The part for the call that is under way."""
        return self._sub_layers.get(str(self.number()))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """`x`, any shape, as the part for this call has it."""
        part = self.current()
        return x if part is None else part(x)

    def mapped(self, change: Callable[[paddle.nn.Layer], paddle.nn.Layer]) -> ByCall:
        """Other parts for the same calls."""
        return ByCall(self.calls, self.layer, {number: change(part) for number, part in self.parts().items()})


class QuantizersByCall(ByCall, ActivationQuantizer):
    """A quantizer for each call of a layer, each with a range of its own."""

    placed = True

    def __init__(self, layer_name: str, calls: Calls, layer: str, parts: Mapping[int, ActivationQuantizer]) -> None:
        ActivationQuantizer.__init__(self, layer_name, next(iter(parts.values())).bits)
        self._add(calls, layer, parts)

    @property
    def quantizing(self) -> bool:
        """Whether the parts round."""
        return all(part.quantizing for part in self.parts().values())

    @quantizing.setter
    def quantizing(self, value: bool) -> None:
        for part in self.parts().values():
            part.quantizing = value

    def active(self) -> ActivationQuantizer | None:
        """The quantizer of the call that is under way."""
        return self.current()

    def observer(self) -> _Observers:
        """Collects what each call is given by itself."""
        return _Observers(self, {number: part.observer() for number, part in self.parts().items()})

    def calibrate(self, seen: _Observers) -> None:
        """Set the range of each call from what was collected in it.

        Raises:
            UserError: a call saw no data.
        """
        for number, part in self.parts().items():
            if number not in seen.reached:
                raise UserError(f"no calibration data reached {part.layer_name}; leave it out with `skip`")
            part.calibrate(seen.observers[number])


class _Observers:
    """An observer for each call."""

    def __init__(self, source: ByCall, observers: Mapping[int, Any]) -> None:
        self.observers = observers
        self.reached: set[int] = set()
        self._source = source

    def add(self, values: Any) -> None:
        """Take in what the call under way was given."""
        number = self._source.number()
        if number in self.observers:
            self.observers[number].add(values)
            self.reached.add(number)
