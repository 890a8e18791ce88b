"""Making a plan work: carry it out, prove it, and where the network does not follow, learn why and plan again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import paddle
from paddle import nn

from ppcls_compress.errors import UserError
from ppcls_compress.slim.graph import Op, Shape
from ppcls_compress.slim.inputs import Inputs
from ppcls_compress.slim.prune.cut.history import History
from ppcls_compress.slim.prune.cut.plan import Plan
from ppcls_compress.slim.prune.cut.structure import Change, Misfit, carry_out, first_other_constant, needs_mending
from ppcls_compress.slim.prune.cut.surgery import Surgery
from ppcls_compress.slim.prune.cut.verify import Proof
from ppcls_compress.slim.prune.trace.channels import Channels, Extra, solve
from ppcls_compress.slim.prune.trace.context import Size, Tracing
from ppcls_compress.slim.prune.trace.labels import Labels, Pin
from ppcls_compress.slim.prune.trace.trace import trace

_MOST_REPAIRS = 200
_MOST_TIMES = 4


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
    extra: Extra = field(default_factory=Extra)
    left: np.ndarray | None = None
    _history: History = field(init=False)
    _earlier: list[np.ndarray | None] = field(default_factory=list)
    _solved: tuple[Extra, Channels] | None = None
    _failures: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tracing = trace(self.model, self.inputs, outputs_stay=self.outputs_stay)
        self._history = History(self.model)

    def dense_shapes(self) -> dict[str, Shape]:
        """Parameter name -> shape before pruning."""
        graph = self.tracing.graph
        return {name: graph.shapes[value] for value, name in graph.parameters.items()}

    def rehearse(self, share: float = 0.5) -> None:
        """Learns what does not follow by removing a share of every group for a moment, if anything might not."""
        channels = self.channels()
        if not needs_mending(self.model, _share_of_all(channels, share)):
            return
        surgery = Surgery()
        try:
            self.fit(lambda channels: _share_of_all(channels, share), surgery, verify=False)
        finally:
            surgery.undo()

    def channels(self) -> Channels:
        """Classes and groups under everything known so far."""
        if self._solved is None or self._solved[0] is not self.extra:
            solved = solve(self.tracing, extra=self.extra, kinds=self.kinds, grouped=self.grouped)
            self._solved = (self.extra, solved)
        return self._solved[1]

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
        self, surgery: Surgery, left: np.ndarray | None, optimizer: paddle.optimizer.Optimizer | None = None
    ) -> None:
        """Notes what was done to the network, so that `restore` undoes it."""
        self._history.remember(surgery, optimizer)
        self._earlier.append(self.left)
        self.left = left

    def undo_last(self) -> None:
        """Undoes what was remembered last."""
        self._history.undo_last()
        self.left = self._earlier.pop()

    def restore(self, optimizer: paddle.optimizer.Optimizer | None = None) -> None:
        """The network, and what the optimizer remembers, as before the first that was remembered; see `History`."""
        self._history.restore(optimizer)
        self._earlier.clear()
        self.left = None

    def fit(
        self, choose: Callable[[Channels], Plan], surgery: Surgery, *, verify: bool = True
    ) -> tuple[Plan, list[Change]]:
        """Plans with `choose` and carries it out; repeats with more knowledge when the network does not follow.

        Raises:
            UserError: the network cannot be made to follow, or what comes out is not exact; `surgery` is to be undone.
        """
        mend = False
        for _ in range(_MOST_REPAIRS):
            try:
                plan = choose(self.channels())
                proof = self._masked(plan) if verify else None
                changes = carry_out(self.model, self.inputs, plan, surgery, mend=mend)
            except Misfit as misfit:
                surgery.undo()
                self._learn(misfit)
                continue
            fault = proof.fault(self.model) if proof else None
            if fault is None:
                return plan, changes
            branch = first_other_constant(self.model, self.inputs, plan) if mend else None
            if mend and branch is None:
                raise UserError(
                    f"the pruned network is not the dense one without the removed channels: {fault}; "
                    "name layers in `skip` until it is"
                )
            surgery.undo()
            if branch is not None:
                self._learn(branch)
            mend = branch is None
        raise UserError("the network's hard-coded sizes do not follow pruning; skip the layers that hold them")

    def _masked(self, plan: Plan) -> Proof:
        """What the network must compute once pruned: a forward pass with the removed channels zeroed."""
        masked = Surgery()
        masked.mask(self.tracing.graph.tensors, plan.cuts)
        try:
            return Proof.of(self.model, self.inputs)
        finally:
            masked.undo()

    def _learn(self, misfit: Misfit) -> None:
        """What an operator that does not follow teaches, one step further each time it fails.

        Sizes that are equal or multiples of each other are made to shrink alike; then the channels they count stay;
        then all channels that the same layer reads or makes.
        """
        op = misfit.op
        if op is None:
            raise UserError(f"the pruned network's forward pass fails: {misfit}")
        attempt = self._failures[op.index] = self._failures.get(op.index, 0) + 1
        pairs = _proportions(self.tracing, misfit.sizes) if attempt == 1 else []
        if pairs:
            self.extra = replace(self.extra, pairs=(*self.extra.pairs, *pairs))
            return
        labels = [size.counted if size.whole is None else size.whole for size in misfit.sizes]
        if attempt > 2:
            labels = self._labels_of([near for near in self.tracing.graph.ops if _is_inside(near.owner, op.owner)])
        elif not labels:
            labels = self._labels_of([op])
        if not labels or attempt > 3:
            raise UserError(f"the pruned network's forward pass fails at {op.name} in layer {op.owner!r}: {misfit}")
        pin = Pin(op.name, str(misfit))
        self.extra = replace(self.extra, pins=(*self.extra.pins, *((label, pin) for label in labels)))

    def _labels_of(self, ops: list[Op]) -> list[Labels]:
        values = {value for op in ops for value in [*self.tracing.flat_inputs(op), *op.outputs]}
        return [labels for value in values for labels in self.tracing.values.get(value, {}).values()]


def _is_inside(path: str, layer: str) -> bool:
    return path == layer or path.startswith(f"{layer}.")


def _share_of_all(channels: Channels, share: float) -> Plan:
    return Plan(channels, channels.mask(group.roots[: int(len(group) * share)] for group in channels.groups))


def _proportions(tracing: Tracing, sizes: list[Size]) -> list[tuple[Labels, Labels]]:
    """Equalities that keep sizes in proportion: halves of a slice, both sides of a padding, c beside 2 * c."""
    pairs = []
    for size in sizes:
        if size.whole is not None:
            if 0 < size.value < len(size.whole) and len(size.whole) % size.value == 0:
                rows = size.whole.reshape(-1, size.value)
                pairs.append((np.broadcast_to(rows[0], rows.shape), rows))
            continue
        for other in tracing.sizes:
            if other.op.owner == size.op.owner and other.whole is None and other.counted is not size.counted:
                times, rest = divmod(size.value, other.value) if other.value > 1 else (0, 1)
                if rest == 0 and times <= _MOST_TIMES and len(other.counted) == other.value:
                    pairs.append((np.tile(other.counted, times), size.counted))
    return pairs
