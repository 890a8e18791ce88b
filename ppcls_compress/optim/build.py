"""Optimizers and learning-rate schedules built from the configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import paddle

from ppcls_compress.errors import ConfigError, closest
from ppcls_compress.optim.group import OptimizerGroup
from ppcls_compress.optim.optimizers import Optimizer, Trained
from ppcls_compress.optim.scheduler import Schedule, ScheduleGroup
from ppcls_compress.optim.schedules import ScheduleOptions


def build_schedule(options: ScheduleOptions, *, epochs: int, steps_per_epoch: int) -> Schedule:
    """The schedule that `Optimizer.lr` describes, to be stepped once per optimizer step."""
    return Schedule(options.rate(epochs=epochs, steps_per_epoch=steps_per_epoch), options.watcher())


def build_optimizer(
    options: Optimizer,
    schedule: Schedule,
    model: paddle.nn.Layer,
    parameters: Sequence[tuple[str, paddle.Tensor]] | None = None,
) -> paddle.optimizer.Optimizer:
    """The optimizer of the model's parameters, which must be final: pruned, and with all quantizers in place.

    A parameter's own `optimize_attr['learning_rate']` and `regularizer` (PACT's alpha has them) take precedence.

    Args:
        parameters: those to train, by structured name, instead of all of the model's.
    """
    named = [(name, p) for name, p in parameters or model.named_parameters() if not p.stop_gradient]
    own = {parameter.name for _, parameter in named if getattr(parameter, "regularizer", None) is not None}
    bare = {parameter.name for name, parameter in named if options.exempt(name, parameter.shape)} - own
    shared = {
        "learning_rate": schedule,
        "grad_clip": paddle.nn.ClipGradByNorm(options.clip_norm) if options.clip_norm else None,
    }
    names = {parameter.name: name for name, parameter in named}
    return options.build(Trained([parameter for _, parameter in named], names, frozenset(bare), frozenset(own), shared))


def build_optimizers(
    section: Sequence[Optimizer],
    model: paddle.nn.Layer,
    losses: Mapping[str, paddle.nn.Layer] | None = None,
    *,
    epochs: int,
    steps_per_epoch: int,
) -> tuple[paddle.optimizer.Optimizer | OptimizerGroup, Schedule | ScheduleGroup]:
    """What the `Optimizer` section describes: one optimizer and its schedule, or several that act as one.

    Args:
        losses: those that have parameters of their own, by name, which scopes may name.

    Raises:
        ConfigError: a scope names nothing, or what another one names too.
    """
    schedules = [build_schedule(o.lr, epochs=epochs, steps_per_epoch=steps_per_epoch) for o in section]
    owners = Owners(model, losses or {})
    scopes = _parameters_by_scope([options.scope for options in section], owners)
    optimizers = [
        build_optimizer(options, schedule, model, parameters)
        for options, schedule, parameters in zip(section, schedules, scopes, strict=True)
    ]
    trained = {id(p) for parameters in scopes for _, p in parameters}
    rest = {name: p for name, p in owners.named_parameters() if id(p) not in trained and not p.stop_gradient}
    if len(section) == 1 and not rest:
        return optimizers[0], schedules[0]
    return OptimizerGroup(optimizers, rest), ScheduleGroup(schedules)


@dataclass(frozen=True)
class Owners:
    """Whose parameters are trained: a network, and losses that learn some of their own, by name."""

    model: paddle.nn.Layer
    losses: Mapping[str, paddle.nn.Layer]

    def named_parameters(self) -> Iterator[tuple[str, paddle.Tensor]]:
        """All of them; those of a loss begin with its name."""
        yield from self.model.named_parameters()
        for loss, layer in self.losses.items():
            yield from layer.named_parameters(prefix=loss)


def _parameters_by_scope(scopes: Sequence[str], owners: Owners) -> list[list[tuple[str, paddle.Tensor]]]:
    found, owner = [], {}
    for index, scope in enumerate(scopes):
        where = "Optimizer.scope" if len(scopes) == 1 else f"Optimizer.{index}.scope"
        parameters = list(_in_scope(scope, owners, where))
        for name, parameter in parameters:
            other = owner.setdefault(id(parameter), scope)
            if other != scope:
                raise ConfigError(f"{where}: {scope} and {other} both train {name}; each parameter has one optimizer")
        found.append(parameters)
    return found


def _in_scope(scope: str, owners: Owners, where: str) -> Iterator[tuple[str, paddle.Tensor]]:
    if scope == "all":
        yield from owners.named_parameters()
        return
    inside = {id(p) for layer in _layers_in_scope(scope, owners, where) for p in layer.parameters()}
    if not inside:
        names = list(owners.losses)
        names += [name for name, _ in owners.model.named_children()]
        match = closest(scope, names)
        raise ConfigError(
            f"{where}: nothing with parameters is called {scope}{f'; did you mean {match}?' if match else '.'} It may "
            f"be all, {type(owners.model).__name__}, a loss that learns, a part of the network "
            f"({', '.join(names[:8])}), or a regular expression that whole names of layers match"
        )
    yield from ((name, p) for name, p in owners.named_parameters() if id(p) in inside)


def _layers_in_scope(scope: str, owners: Owners, where: str) -> list[paddle.nn.Layer]:
    if scope in owners.losses:
        return [owners.losses[scope]]
    if scope.endswith("Loss"):
        everything = [layer for loss in owners.losses.values() for layer in loss.sublayers(include_self=True)]
        return [layer for layer in everything if type(layer).__name__ == scope]
    if scope == type(owners.model).__name__:
        return [owners.model]
    layers = dict(owners.model.named_sublayers())
    if scope in layers:
        return [layers[scope]]
    try:
        pattern = re.compile(scope)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigError(f"{where}: {scope} is neither a layer nor a regular expression: {error}") from None
    return [layer for name, layer in layers.items() if pattern.fullmatch(name)]
