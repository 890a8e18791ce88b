"""The training loop. Whatever is not a training step (evaluation, checkpoints, messages) is a hook."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import paddle

from ppcls_compress.engine import distributed
from ppcls_compress.engine.hooks.base import Batch, Hook
from ppcls_compress.engine.modes.base import Update
from ppcls_compress.engine.passes import forward_backward
from ppcls_compress.engine.training import Progress, Training
from ppcls_compress.losses import LossValue
from ppcls_compress.outputs import Output


@dataclass
class Trainer(Training):
    """A model, its data and its optimizer, trained epoch by epoch.

    The order of calls, for every hook in the order of the list:

        before_training
        for each epoch:
            before_epoch         (then, before the first step of a run, the steps that lead up to it)
            for each batch:
                forward, backward
                after_backward
                every `accumulate` batches an update: an optimizer step, or what the mode makes of it
                after_batch
            after_epoch          (evaluation, then checkpoints)
        after_training           (also when training fails)

    Attributes:
        hooks: called in this order.
        update: what the gradients of a batch are for.
        leading: batches of steps before the first one, in which no rate moves and no hook is called.
    """

    hooks: Sequence[Hook] = ()
    update: Update = field(default_factory=Update)
    leading: Iterable[tuple[paddle.Tensor, paddle.Tensor]] = ()

    def run(self) -> Progress:
        """Train from where `progress` is to `epochs`."""
        parallel = distributed.wrap(self.model)
        try:
            self._call("before_training")
            for epoch in range(self.progress.epoch, self.epochs):
                self._run_epoch(parallel, epoch)
                if self.progress.stopped:
                    break
        finally:
            self._call("after_training")
        return self.progress

    def _run_epoch(self, parallel: paddle.nn.Layer, epoch: int) -> None:
        start = self.progress.batch
        self.loader.set_epoch(epoch, start)
        self.model.train()
        self._call("before_epoch")
        if not self.progress.step:
            self._lead_up(parallel)
        batches = len(self.loader)
        for index, (images, labels) in enumerate(self.loader, start):
            paddle.seed(_seed_of(self.seed, epoch, index, paddle.distributed.get_rank()))
            last_of_group = (index + 1) % self.accumulate == 0 or index + 1 == batches
            group = min(self.accumulate, batches - index // self.accumulate * self.accumulate)
            output, loss = self._forward_backward(parallel, images, labels, scale=1.0 / group, sync=last_of_group)
            batch = Batch(index, images, labels, output, loss.total, loss.terms)
            self._call("after_backward", batch)
            if last_of_group:
                self._step()
                batch = replace(batch, terms={**batch.terms, **self.update.further(self, index)})
                self.schedule.step()
                self.progress.step += 1
                self.progress.batch = index + 1
            self._call("after_batch", batch)
        self.progress.epoch, self.progress.batch = epoch + 1, 0
        self._call("after_epoch")

    def _forward_backward(
        self, parallel: paddle.nn.Layer, images: paddle.Tensor, labels: paddle.Tensor, *, scale: float, sync: bool
    ) -> tuple[Output, LossValue]:
        local_only = not sync and isinstance(parallel, paddle.DataParallel)
        with parallel.no_sync() if local_only else contextlib.nullcontext():
            return forward_backward(self, parallel, self.loss, images, labels, scale=scale)

    def _step(self) -> None:
        # Gradients of the network are averaged on the way back.
        distributed.merge([p.grad for p in self.loss.parameters() if p.grad is not None], largest=False)
        self.update.step(self)

    def _lead_up(self, parallel: paddle.nn.Layer) -> None:
        for index, (images, labels) in enumerate(self.leading):
            paddle.seed(_seed_of(self.seed, index, paddle.distributed.get_rank()))
            self._forward_backward(parallel, images, labels, scale=1.0, sync=True)
            self._step()

    def _call(self, event: str, *batch: Batch) -> None:
        for hook in self.hooks:
            handler: Callable[..., None] = getattr(hook, event)
            handler(self, *batch)


def _seed_of(*parts: int) -> int:
    """What the network draws in a batch depends on that batch alone, so that a run can go on from within an epoch."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0] % 2**31)
