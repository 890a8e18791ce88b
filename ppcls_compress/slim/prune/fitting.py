"""Making a plan work: carry it out, prove it, and where the network does not follow, learn why and plan again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from paddle import nn

from ppcls_compress.errors import UserError
from ppcls_compress.slim.prune.channels import Channels, Extra, solve
from ppcls_compress.slim.prune.context import Size, Tracing
from ppcls_compress.slim.prune.graph import Inputs
from ppcls_compress.slim.prune.labels import Labels, Pin
from ppcls_compress.slim.prune.plan import Plan
from ppcls_compress.slim.prune.structure import Change, Misfit, carry_out
from ppcls_compress.slim.prune.surgery import Surgery
from ppcls_compress.slim.prune.trace import trace
from ppcls_compress.slim.prune.verify import Proof

_MOST_REPAIRS = 200


@dataclass
class Network:
    """A traced network and what failed attempts to prune it have taught.

    Attributes:
        kinds: whose output channels may go, `conv`, `fc`.
        grouped: see `channels.solve`.
    """

    model: nn.Layer
    inputs: Inputs
    kinds: frozenset[str]
    grouped: str = "auto"
    tracing: Tracing = field(init=False)
    extra: Extra = field(default_factory=Extra)
    _equalized: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.tracing = trace(self.model, self.inputs)

    def channels(self) -> Channels:
        """Classes and groups under everything known so far."""
        return solve(self.tracing, extra=self.extra, kinds=self.kinds, grouped=self.grouped)

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
            if mend:
                raise UserError(f"the pruned network is not the dense one without the removed channels: {fault}")
            surgery.undo()
            mend = True
        raise UserError("the network's hard-coded sizes do not follow pruning; skip the layers that hold them")

    def _masked(self, plan: Plan) -> Proof:
        """What the network must compute once pruned: a forward pass with the removed channels zeroed."""
        masked = Surgery()
        masked.mask(self.tracing.graph.tensors, plan.kept)
        try:
            return Proof.of(self.model, self.inputs)
        finally:
            masked.undo()

    def _learn(self, misfit: Misfit) -> None:
        """First equal parts are made to shrink alike; where that was tried or is not possible, the channels stay."""
        op, sizes = misfit.op, misfit.sizes
        if op is None:
            raise UserError(f"the pruned network's forward pass fails: {misfit}")
        if op.index not in self._equalized:
            self._equalized.add(op.index)
            pairs = _equal_parts(self.tracing, sizes)
            if pairs:
                self.extra = replace(self.extra, pairs=(*self.extra.pairs, *pairs))
                return
        labels = [size.counted if size.whole is None else size.whole for size in sizes]
        for value in [] if labels else [*self.tracing.flat_inputs(op), *op.outputs]:
            labels.extend(self.tracing.axes(value).values())
        if not labels:
            raise UserError(f"the pruned network's forward pass fails at {op.name} in layer {op.owner!r}: {misfit}")
        pin = Pin(op.name, str(misfit))
        self.extra = replace(self.extra, pins=(*self.extra.pins, *((label, pin) for label in labels)))


def _equal_parts(tracing: Tracing, sizes: list[Size]) -> list[tuple[Labels, Labels]]:
    """Equalities that make sizes which were equal stay equal: halves of a slice, both sides of a padding."""
    pairs = []
    for size in sizes:
        if size.whole is not None:
            if 0 < size.value < len(size.whole) and len(size.whole) % size.value == 0:
                rows = size.whole.reshape(-1, size.value)
                pairs.append((np.broadcast_to(rows[0], rows.shape), rows))
            continue
        for other in tracing.sizes:
            if other.op is size.op and other.value == size.value and other.counted is not size.counted:
                pairs.append((size.counted, other.counted))
    return pairs
