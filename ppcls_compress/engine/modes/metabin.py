"""Meta-learning of the gates between batch and instance norms (MetaBIN, Choi et al. 2021, section 3.3 and algorithm 1).

A step has three parts:

1. The weights learn from a batch of `DataLoader.Train` (`Loss.Basic`); gates stay.
2. A batch of `DataLoader.Metalearning` is split by cameras at random, half of them to train on. The loss there
   (`Loss.MetaTrain`) moves the gates for a moment: g' = clip(g - b dL_train/dg, 0, 1).
3. The loss on the other cameras (`Loss.MetaTest`), at g', teaches the gates: g <- clip(g - a dL_test(g')/dg, 0, 1).

As in PaddleClas, dg'/dg is 1 between the bounds and 0 beyond them: the derivative of first order, where the paper's
has the second, and `a` is the rate of `Optimizer.1`, `b` that rate times the one of `Optimizer.2`. In parts 2 and 3
nothing changes that the network remembers of batches, such as running statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import paddle

from ppcls_compress.config.schema import Config
from ppcls_compress.data.continued import ContinuedLoader
from ppcls_compress.engine import distributed
from ppcls_compress.engine.modes.base import Mode, MoreImages, Update
from ppcls_compress.engine.passes import forward_backward
from ppcls_compress.engine.training import Training
from ppcls_compress.errors import ConfigError, UserError
from ppcls_compress.losses import LossValue, TotalLoss, build_loss
from ppcls_compress.models.metabin import Gate
from ppcls_compress.optim.group import members_of
from ppcls_compress.outputs import cameras

Batch = tuple[paddle.Tensor, paddle.Tensor]
"""Images [N, C, H, W], and their int64 labels [N, 2], the camera second."""


class Alongside:
    """The batches of a second loader, by the position of the first one's."""

    def __init__(self, loader: ContinuedLoader) -> None:
        self._loader = loader
        self._next: tuple[int, int] | None = None
        self._batches: Iterator[Batch] = iter(())

    def at(self, epoch: int, index: int) -> Batch:
        """The batch at a position; one after another they are prepared ahead."""
        if self._next != (epoch, index):
            self._loader.set_epoch(epoch, index)
            self._batches = iter(self._loader)
        batch = next(self._batches)
        self._next = (epoch, index + 1)
        return batch


@dataclass(frozen=True)
class MetaBIN(Update):
    """The three parts.

    Attributes:
        gates: what parts 2 and 3 are about.
        train: the loss of part 2.
        test: the loss of part 3.
        batches: what is split by cameras.
        factor: the rate of `Optimizer.2` at a step of the run.
    """

    gates: Sequence[paddle.Tensor]
    train: TotalLoss
    test: TotalLoss
    batches: Alongside
    factor: Callable[[int], float]

    def step(self, trainer: Training) -> None:
        """Part 1: the first optimizer, which has no gates."""
        weights, _ = members_of(trainer.optimizer)
        trainer.precision.step(weights)
        _forget_gradients(trainer)

    def further(self, trainer: Training, index: int) -> dict[str, paddle.Tensor]:
        """Parts 2 and 3; the terms of both losses."""
        epoch = trainer.progress.epoch
        batch = self.batches.at(epoch, index)
        train, test = split_by_camera(batch, np.random.default_rng([trainer.seed, epoch, index]))
        _, optimizer = members_of(trainer.optimizer)
        rate = optimizer.get_lr() * self.factor(epoch * trainer.steps_per_epoch + index)
        learned = self._gradients(trainer, self.train, train)
        moved = self._moved(trainer, rate)
        _forget_gradients(trainer)
        with _at(self.gates, [gate.clip(0, 1) for gate in moved]):
            judged = self._gradients(trainer, self.test, test)
        with paddle.no_grad():
            for gate, target in zip(self.gates, moved, strict=True):
                inside = (target >= 0) & (target <= 1)
                gate.grad.set_value(gate.grad * inside.astype(gate.grad.dtype))
        trainer.precision.step(optimizer)
        _forget_gradients(trainer)
        with paddle.no_grad():
            for gate in self.gates:
                gate.set_value(gate.clip(0, 1))
        return {**_named("MetaTrain", learned), **_named("MetaTest", judged)}

    def _gradients(self, trainer: Training, loss: TotalLoss, batch: Batch) -> LossValue:
        """What a batch costs; the gradients of the gates are the mean over all processes."""
        with _held(trainer.model):
            _, value = forward_backward(trainer, trainer.model, loss, *batch)
        distributed.merge([gate.grad for gate in self.gates], largest=False)
        return value

    def _moved(self, trainer: Training, rate: float) -> list[paddle.Tensor]:
        """The gates one step down their gradients, beyond the bounds or not."""
        scaling = trainer.precision.scaled(paddle.ones([]))
        with paddle.no_grad():
            return [
                gate - rate * gate.optimize_attr["learning_rate"] * (gate.grad / scaling).astype(gate.dtype)
                for gate in self.gates
            ]


def split_by_camera(batch: Batch, rng: np.random.Generator) -> tuple[Batch, Batch]:
    """The images of one half of the cameras, drawn at random and rounded down, and those of the others.

    Raises:
        UserError: all images are of one camera.
    """
    images, labels = batch
    seen = cameras(labels).numpy()
    found = np.unique(seen)
    if len(found) < 2:
        raise UserError(
            f"DataLoader.Metalearning.Train.sampler: all {len(seen)} images of a batch are of camera {found[0]}, and "
            "MetaBIN learns from some cameras for others; use DomainShuffleBatchSampler, or a larger batch_size"
        )
    chosen = np.isin(seen, rng.permutation(found)[: len(found) // 2])
    parts = [paddle.to_tensor(np.flatnonzero(mask)) for mask in (chosen, ~chosen)]
    first, second = ((images.index_select(part), labels.index_select(part)) for part in parts)
    return first, second


def _named(part: str, value: LossValue) -> dict[str, paddle.Tensor]:
    return {f"{part}.{name}": term for name, term in value.terms.items()}


def _forget_gradients(trainer: Training) -> None:
    trainer.optimizer.clear_grad(set_to_zero=False)


@contextmanager
def _held(model: paddle.nn.Layer) -> Iterator[None]:
    """Within the block the network may remember batches; after it, it does not."""
    layers = [layer for layer in model.sublayers(include_self=True) if layer.training]
    # Paddle keeps a batch norm's statistics as parameters that are not trained.
    own = [layer.parameters(include_sublayers=False) + layer.buffers(include_sublayers=False) for layer in layers]
    kept = {id(tensor): (tensor, tensor.clone()) for tensors in own for tensor in tensors if tensor.stop_gradient}
    try:
        yield
    finally:
        for tensor, value in kept.values():
            tensor.set_value(value)


@contextmanager
def _at(gates: Sequence[paddle.Tensor], values: Sequence[paddle.Tensor]) -> Iterator[None]:
    """Within the block the gates have other values."""
    before = [gate.detach().clone() for gate in gates]
    _set(gates, values)
    try:
        yield
    finally:
        _set(gates, before)


def _set(gates: Sequence[paddle.Tensor], values: Sequence[paddle.Tensor]) -> None:
    with paddle.no_grad():
        for gate, value in zip(gates, values, strict=True):
            gate.set_value(value)


def _build(config: Config, trainer: Training, more: MoreImages) -> MetaBIN:
    schedule = config.Optimizer[2].lr
    return MetaBIN(
        gates=_gates(trainer),
        train=_loss(config, "MetaTrain"),
        test=_loss(config, "MetaTest"),
        batches=Alongside(ContinuedLoader(more(), len(trainer.loader), epochs=trainer.epochs)),
        factor=schedule.rate(epochs=trainer.epochs, steps_per_epoch=trainer.steps_per_epoch),
    )


def _gates(trainer: Training) -> list[paddle.Tensor]:
    """What the second optimizer trains.

    Raises:
        ConfigError: something of that is no gate.
    """
    layers = trainer.model.sublayers()
    known = {id(layer.gate) for layer in layers if isinstance(layer, Gate)}
    trained = {id(parameter) for parameter in members_of(trainer.optimizer)[1]._parameter_list}
    wrong = [name for name, parameter in trainer.named_parameters() if id(parameter) in trained - known]
    if wrong:
        raise ConfigError(
            f"Optimizer.1.scope: trains {wrong[0]}, which is no gate; with Global.train_mode metabin the second "
            "optimizer is that of the gates alone, such as scope: 'backbone.*gate'"
        )
    return [layer.gate for layer in layers if isinstance(layer, Gate) and id(layer.gate) in trained]


def _loss(config: Config, key: str) -> TotalLoss:
    loss = build_loss(getattr(config.Loss, key))
    if loss.layers():
        raise ConfigError(
            f"Loss.{key}: {', '.join(loss.layers())} learns or remembers something of its own, and gates alone learn "
            "here; choose another loss"
        )
    return loss


METABIN = Mode(
    loss="Basic",
    optimizers=2,
    lead=lambda config: (config.Global.warmup_iter or 1) - 1,
    update=_build,
)
