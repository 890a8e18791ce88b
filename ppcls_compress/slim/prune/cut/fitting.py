"""Making a plan work: carry it out, prove it, and where the network does not follow, learn why and plan again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import numpy as np
import paddle
from paddle import nn

from ppcls_compress.errors import UserError
from ppcls_compress.slim.graph import Shape
from ppcls_compress.slim.inputs import Inputs
from ppcls_compress.slim.prune.cut.history import History
from ppcls_compress.slim.prune.cut.plan import Plan
from ppcls_compress.slim.prune.cut.structure import Change, Misfit, carry_out, look
from ppcls_compress.slim.prune.cut.surgery import Surgery
from ppcls_compress.slim.prune.cut.unsteady import random_operator
from ppcls_compress.slim.prune.cut.verify import Proof
from ppcls_compress.slim.prune.trace.channels import Channels, solve
from ppcls_compress.slim.prune.trace.context import Tracing
from ppcls_compress.slim.prune.trace.doubts import counted, flipped
from ppcls_compress.slim.prune.trace.labels import Labels, Pin
from ppcls_compress.slim.prune.trace.number import Guard
from ppcls_compress.slim.prune.trace.trace import trace

_REHEARSED = (0.5, 0.9)
"""Shares of the channels that are removed to see what follows."""

_MOST_ATTEMPTS = 2


@dataclass
class Network:
    """A traced network and what failed attempts to prune it have taught.

    Attributes:
        kinds: whose output channels may go, `conv`, `fc`.
        grouped: see `channels.solve`.
        outputs_stay: whether the network's outputs keep all channels.
        left: mask over labels of what the plans carried out so far have left; None while that is everything.
    """

    model: nn.Layer
    inputs: Inputs
    kinds: frozenset[str]
    grouped: str = "auto"
    outputs_stay: bool = True
    tracing: Tracing = field(init=False)
    left: np.ndarray | None = None
    _history: History = field(init=False)
    _earlier: list[np.ndarray | None] = field(default_factory=list)
    _changes: list[Sequence[Change]] = field(default_factory=list)
    _pins: list[tuple[Labels, Pin]] = field(default_factory=list)
    _solved: Channels | None = None
    _failures: dict[int, int] = field(default_factory=dict)
    _harmless: set[Guard] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.tracing = trace(self.model, self.inputs, outputs_stay=self.outputs_stay)
        self._history = History(self.model)
        self._rehearse()

    def dense_shapes(self) -> dict[str, Shape]:
        """Parameter name -> shape before pruning."""
        graph = self.tracing.graph
        return {name: graph.shapes[value] for value, name in graph.parameters.items()}

    def channels(self) -> Channels:
        """Classes and groups under everything known so far."""
        if self._solved is None:
            self._solved = self._solve(self._pins)
        return self._solved

    def _solve(self, pins: Sequence[tuple[Labels, Pin]]) -> Channels:
        return solve(self.tracing, pins=pins, kinds=self.kinds, grouped=self.grouped)

    def _rehearse(self) -> None:
        """Removes channels for a moment, different shares of different groups, and learns what does not follow.

        Comparisons in the network's own code are turned, if they are, to see whether that changes anything; then left.
        """
        for share in _REHEARSED:
            turning = _uneven(self.channels(), share)
            if self._flipped(turning):
                with suppress(Misfit):
                    self._try(turning)
        while (plan := self.sound(lambda channels: _uneven(channels, _REHEARSED[0]))).is_doubtful:
            try:
                self._try(plan)
                break
            except Misfit as misfit:
                self._learn(misfit)

    def _try(self, plan: Plan) -> None:
        surgery = Surgery()
        try:
            carry_out(plan, surgery)
            look(self.model, self.inputs, plan)
        finally:
            surgery.undo()
        self._harmless.update(self._flipped(plan))

    def _flipped(self, plan: Plan) -> list[Guard]:
        """The comparisons that come out differently under a plan, and are not known to mean nothing for the result."""
        found = flipped(plan.channels.guards, plan.channels.terms, plan.keep)
        return [guard for guard in found if guard not in self._harmless]

    def sound(self, choose: Callable[[Channels], Plan]) -> Plan:
        """What `choose` plans, with those channels kept whose removal would turn a comparison in the network's code.

        The same choice gives the same plan, whatever was planned or cut before.
        """
        channels, pins = self.channels(), list(self._pins)
        while True:
            plan = choose(channels)
            turned = self._flipped(plan)
            if not turned:
                return plan
            pins += [_about(guard, channels) for guard in turned]
            channels = self._solve(pins)

    def after_earlier(self, plan: Plan) -> Plan:
        """A plan for the network as it was traced, as what it does to the network as earlier plans have left it.

        Raises:
            UserError: channels of the plan are gone, or something else has cut the network.
        """
        if self.left is not None:
            gone = Plan(plan.channels, plan.keep | self.left).kept
            if gone:
                raise UserError(f"{next(iter(gone))}: an earlier plan has cut these channels out; restore it first")
            plan = Plan(plan.channels, plan.keep & self.left, self.left)
        shapes = plan.old_shapes()
        for value, name in self.tracing.graph.parameters.items():
            found = self.tracing.graph.tensors[name].shape
            if name in plan.cuts and list(found) != list(shapes[value]):
                raise UserError(
                    f"{name} is {list(found)} and not {list(shapes[value])}: the network has been changed since "
                    "this pruner traced it; make a new pruner"
                )
        return plan

    def remember(
        self,
        surgery: Surgery,
        left: np.ndarray | None,
        optimizer: paddle.optimizer.Optimizer | None = None,
        changes: Sequence[Change] = (),
    ) -> None:
        """Notes what was done to the network, so that `restore` undoes it."""
        self._history.remember(surgery, optimizer)
        self._earlier.append(self.left)
        self._changes.append(changes)
        self.left = left

    @contextmanager
    def undone(self) -> Iterator[None]:
        """What is remembered within it, if anything, is undone on the way out."""
        before = len(self._earlier)
        try:
            yield
        finally:
            while len(self._earlier) > before:
                self._history.undo_last()
                self.left = self._earlier.pop()
                self._changes.pop()

    def restore(self, optimizer: paddle.optimizer.Optimizer | None = None) -> None:
        """The network, and what the optimizer remembers, as before the first that was remembered; see `History`."""
        self._history.restore(optimizer)
        self._earlier.clear()
        self._changes.clear()
        self.left = None

    @property
    def changes(self) -> list[Change]:
        """The attributes of layers that are not what they were in the dense network, with their values now."""
        found = {(path, name): value for changes in self._changes for path, name, value in changes}
        return [(path, name, value) for (path, name), value in found.items()]

    def fit(
        self, choose: Callable[[Channels], Plan], surgery: Surgery, *, verify: bool = True
    ) -> tuple[Plan, list[Change]]:
        """Plans with `choose` and carries it out; repeats with more knowledge when the network does not follow.

        Raises:
            UserError: the network cannot be made to follow, or what comes out is not exact; `surgery` is to be undone.
        """
        while True:
            plan = self.sound(choose)
            proof = self._masked(plan) if verify else None
            changes = carry_out(plan, surgery)
            fault = proof.fault(self.model) if proof else None
            try:
                if plan.is_doubtful or fault is not None:
                    look(self.model, self.inputs, plan)
            except Misfit as misfit:
                surgery.undo()
                self._learn(misfit)
                continue
            if fault is not None:
                raise UserError(self._told(fault, proof))
            return plan, changes

    def _told(self, fault: str, proof: Proof) -> str:
        """Why what comes out is not exact."""
        if not proof.wavers(self.model):
            return (
                f"the pruned network is not the dense one without the removed channels: {fault}; "
                "name layers in `skip` until it is"
            )
        drawn = random_operator(self.model, self.inputs, self.tracing.evaluation)
        why = f"it draws random numbers by {drawn}" if drawn else "its code, or a hook, changes from call to call"
        return (
            f"the network computes something else each time, also in evaluation, which cannot be verified: {why}; "
            "do that in training only (if self.training), or prune with verify: false"
        )

    def _masked(self, plan: Plan) -> Proof:
        """What the network must compute once pruned: a forward pass with the removed channels zeroed."""
        masked = Surgery()
        masked.mask(self.tracing.graph.tensors, plan.cuts)
        try:
            return Proof.of(self.model, self.inputs)
        finally:
            masked.undo()

    def _learn(self, misfit: Misfit) -> None:
        """What has to stay because the pruned network is not what it should be.

        The channels that the first operator to differ counts, or reads; then all that its layer reads or makes.
        """
        self._check_steady()
        op = misfit.op
        if op is None:
            raise UserError(f"the pruned network's forward pass fails: {misfit}")
        attempt = self._failures[op.index] = self._failures.get(op.index, 0) + 1
        labels = [size.counted if size.whole is None else size.whole for size in misfit.sizes]
        if attempt > 1:
            near = [other for other in self.tracing.graph.ops if _is_inside(other.owner, op.owner)]
            labels = self._labels_of(v for other in near for v in [*self.tracing.flat_inputs(other), *other.outputs])
        elif not labels:
            labels = self._labels_of(self.tracing.flat_inputs(op)) or self._labels_of(op.outputs)
        if not labels or attempt > _MOST_ATTEMPTS:
            raise UserError(f"the pruned network's forward pass fails at {op.name} in layer {op.owner!r}: {misfit}")
        self._keep([(label, Pin(op.name, str(misfit))) for label in labels])

    def _check_steady(self) -> None:
        """Whether the network as it is is still the one that was traced.

        Raises:
            UserError: its forward pass is another one each time.
        """
        everything = np.ones(self.tracing.book.count, dtype=bool) if self.left is None else self.left
        try:
            look(self.model, self.inputs, Plan(self.channels(), everything, self.left))
        except Misfit as misfit:
            where = f"{misfit.op.name} in layer {misfit.op.owner!r}: " if misfit.op else ""
            raise UserError(
                f"the network's forward pass is another one each time it runs: {where}{misfit}; take out what counts "
                "calls, a hook for example, while it is pruned"
            ) from misfit

    def _keep(self, pins: Iterable[tuple[Labels, Pin]]) -> None:
        self._pins.extend(pins)
        self._solved = None

    def _labels_of(self, values: Iterable[str]) -> list[Labels]:
        return [labels for value in set(values) for labels in self.tracing.values.get(value, {}).values()]


def _is_inside(path: str, layer: str) -> bool:
    return path == layer or path.startswith(f"{layer}.")


def _about(guard: Guard, channels: Channels) -> tuple[Labels, Pin]:
    reason = f"the network's code compares how many there are ({guard.place})"
    return counted(channels.terms, guard.leaves), Pin(guard.sign, reason)


def _uneven(channels: Channels, share: float) -> Plan:
    """Removes about a share of every group, but not the same of two that are alike, and not the first units of all."""
    removed = []
    for index, group in enumerate(channels.groups):
        most = len(group) - 1
        count = min(most, max(1, round(share * len(group)) + index % 5 - 2)) if most else 0
        removed.append(np.roll(group.roots, index)[:count])
    return Plan(channels, channels.mask(removed))
