"""Checkpoints: `<prefix>.pdparams`, `.slim.json` (structure), `.pdopt` (optimizer), `.pdstates` (how far the run is).

With a moving average, `.pdema` has the weights that are trained; with losses that learn, `.pdloss` has their state.

All are written under temporary names first, and then renamed one right after the other, `.pdstates` last; it holds
the checksums of the others, so that a checkpoint that was cut short between two renames is recognised instead of being
resumed from.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paddle

from ppcls_compress import io, tensors
from ppcls_compress.engine.states import checked
from ppcls_compress.engine.together import state_of
from ppcls_compress.errors import UserError
from ppcls_compress.io import plain_prefix
from ppcls_compress.models.together import DistillationModel
from ppcls_compress.models.weights import load_into
from ppcls_compress.optim.group import OptimizerGroup, members_of
from ppcls_compress.optim.optimizers import OPTIMIZERS
from ppcls_compress.slim import record as compression
from ppcls_compress.slim.record import Record, empty_record

if TYPE_CHECKING:
    from ppcls_compress.engine.training import Training

__all__ = [
    "earlier",
    "keep_earlier",
    "plain_prefix",
    "read_record",
    "read_states",
    "read_weights",
    "restore",
    "save",
    "save_model",
    "saved_epoch",
    "saved_states",
    "usable",
]

_AVERAGED, _LOSSES = ".pdema", ".pdloss"
_SUMMED = (".pdparams", ".slim.json", ".pdopt")
_ALL = (*_SUMMED, _AVERAGED, _LOSSES, ".pdstates")
_WEIGHTS_ALONE = "so the run cannot go on exactly; start from its weights with Global.pretrained_model"


def save_model(prefix: Path, model: paddle.nn.Layer, record: Record, *, safetensors: bool = False) -> None:
    """Write the weights and the compression record; with `safetensors` also as one file of both.

    Raises:
        UserError: a file cannot be written.
    """
    state = model.state_dict()
    if safetensors:
        tensors.write(f"{prefix}{tensors.SUFFIX}", state, record)
    with io.atomic_files([f"{prefix}.pdparams", f"{prefix}.slim.json"]) as (weights, structure):
        io.write_state(weights, state)
        io.write_json(structure, record, indent=None)


def save(prefix: Path, trainer: Training, record: Record, *, safetensors: bool = False) -> None:
    """Write everything that is needed to go on exactly as if the run had not stopped.

    Args:
        safetensors: write `<prefix>.safetensors` too, the weights and the record in one file, for others to read.

    Raises:
        UserError: a file cannot be written; an earlier checkpoint of this name is then as it was.
    """
    trained = trainer.model.state_dict()
    averaged = trainer.average is not None
    saved = trainer.average.state_dict() if averaged else trained
    if safetensors:
        tensors.write(f"{prefix}{tensors.SUFFIX}", saved, record)
    more = {_AVERAGED: trained} if averaged else {}
    learned = {name: layer.state_dict() for name, layer in trainer.loss.layers().items()}
    if learned:
        more[_LOSSES] = learned
    summed = [*_SUMMED, *more]
    with io.atomic_files([f"{prefix}{suffix}" for suffix in (*summed, ".pdstates")]) as partials:
        weights, structure, optimizer, *rest, progress = partials
        io.write_state(weights, saved)
        io.write_json(structure, record, indent=None)
        io.write_state(optimizer, trainer.optimizer.state_dict())
        for path, state in zip(rest, more.values(), strict=True):
            io.write_state(path, state)
        states = {
            "progress": asdict(trainer.progress),
            "seed": trainer.seed,
            "settings": trainer.settings,
            "steps_per_epoch": trainer.steps_per_epoch,
            "loss_scaling": trainer.precision.state_dict(),
            "parameter_names": {parameter.name: name for name, parameter in trainer.named_parameters()},
            "sha256": {suffix: io.sha256(path) for suffix, path in zip(summed, partials, strict=False)},
        }
        io.write_state(progress, states)
    _save_student(prefix, trainer, record)


def _save_student(prefix: Path, trainer: Training, record: Record) -> None:
    """Of networks that are trained together, the one that is deployed in files of its own, `<prefix>_student`."""
    model = trainer.model
    if not isinstance(model, DistillationModel):
        return
    state = (model if trainer.average is None else trainer.average).state_dict()
    with io.atomic_files([f"{prefix}_student.pdparams", f"{prefix}_student.slim.json"]) as (weights, structure):
        io.write_state(weights, state_of(model.student_name, state))
        io.write_json(structure, record, indent=None)


def keep_earlier(prefix: Path, count: int) -> None:
    """Give what is saved under `prefix` a further name, `<prefix>_1`, before it is saved anew; and so on up to `count`.

    Nothing is copied where the disk has links: the next save replaces the name and leaves the file.

    Raises:
        UserError: a file cannot be written.
    """
    for age in range(count, 0, -1):
        newer = prefix if age == 1 else earlier(prefix, age - 1)
        for suffix in _ALL:
            source, target = Path(f"{newer}{suffix}"), Path(f"{earlier(prefix, age)}{suffix}")
            if source.exists():
                io.link_or_copy(source, target)


def earlier(prefix: Path, age: int) -> Path:
    """Where the checkpoint is kept that was saved under `prefix` so many saves ago."""
    return prefix.with_name(f"{prefix.name}_{age}")


def usable(prefix: Path, *, strict: bool) -> tuple[Path, str | None]:
    """The checkpoint to resume from: `prefix`, or where that is damaged the one that was saved before it.

    Returns:
        The prefix, and why it is another; None where it is not.

    Raises:
        UserError: it is damaged, and there is no earlier one or `strict` refuses it.
    """
    try:
        read_states(prefix)
    except UserError as error:
        if strict:
            raise
        for age in range(1, _EARLIEST):
            candidate = earlier(prefix, age)
            if saved_epoch(candidate) is not None:
                return candidate, str(error).removeprefix("Global.checkpoints: ")
        raise
    return prefix, None


_EARLIEST = 100


def read_record(prefix: Path) -> Record:
    """The compression record beside weights; that of a dense model where there is none.

    Raises:
        UserError: the file is not a compression record.
    """
    path = Path(f"{prefix}.slim.json")
    return compression.check(io.read_json(path), path) if path.exists() else empty_record()


def read_weights(path: str | Path) -> tuple[dict[str, Any], Record]:
    """The weights that a path means, and their compression record: beside `.pdparams`, or in `.safetensors`.

    Raises:
        UserError: one of the files is missing, damaged or of another kind.
    """
    file = io.weights_file(path)
    if file.suffix != tensors.SUFFIX:
        return io.read_state(file), read_record(plain_prefix(path))
    state, record = tensors.read(file)
    return state, empty_record() if record is None else compression.check(record, file)


def read_states(prefix: Path) -> dict[str, Any]:
    """What `.pdstates` of a complete checkpoint says.

    Raises:
        UserError: a file is missing or was written by another save: the checkpoint is half-written.
    """
    path = Path(f"{prefix}.pdstates")
    if not path.exists():
        raise UserError(f"Global.checkpoints: {prefix} is incomplete, {path.name} is missing, {_WEIGHTS_ALONE}")
    try:
        states = checked(io.read_state(path, ours=True), str(path))
    except UserError as error:
        raise UserError(f"Global.checkpoints: {error}; {_advice(prefix)}") from None
    for suffix, expected in states["sha256"].items():
        path = Path(f"{prefix}{suffix}")
        if not path.exists() or io.sha256(path) != expected:
            raise UserError(
                f"Global.checkpoints: {prefix} is half-written or altered: {path.name} is not the file that was saved "
                f"with the others; {_advice(prefix)}"
            )
    return states


def _advice(prefix: Path) -> str:
    """What can be resumed from instead, of what is there."""
    others = sorted(path.stem for path in prefix.parent.glob("*.pdstates") if path.stem != prefix.name)
    if not others:
        return "there is no other checkpoint in its folder; start from its weights with Global.pretrained_model"
    return f"resume from another one of its folder: {', '.join(others[:8])}"


def saved_states(prefix: Path) -> dict[str, Any] | None:
    """What `read_states` gives of a complete checkpoint; None where there is none."""
    if not Path(f"{prefix}.pdstates").exists():
        return None
    try:
        return read_states(prefix)
    except UserError:
        return None


def saved_epoch(prefix: Path) -> int | None:
    """After which epoch a complete checkpoint was saved; None where there is none."""
    states = saved_states(prefix)
    return None if states is None else states["progress"]["epoch"]


def restore(prefix: Path, trainer: Training) -> dict[str, Any]:
    """Put optimizer, schedule and progress where `save` found them; the model's weights are loaded already.

    Where an epoch has another number of steps than it had, the schedule goes on from the epoch, not from the step.

    Returns:
        The settings of the run that was stopped; empty where they were not saved.

    Raises:
        UserError: the checkpoint is half-written, or its optimizer is not the configured one.
    """
    states = read_states(prefix)
    for name, value in states["progress"].items():
        setattr(trainer.progress, name, value)
    trainer.seed = states["seed"]
    trainer.precision.set_state_dict(states["loss_scaling"])
    if _AVERAGED in states["sha256"]:
        _restore_trained(trainer, io.read_state(f"{prefix}{_AVERAGED}"), prefix)
    _restore_losses(trainer, io.read_state(f"{prefix}{_LOSSES}") if _LOSSES in states["sha256"] else {}, prefix)
    _restore_optimizer(trainer, io.read_state(f"{prefix}.pdopt"), states["parameter_names"], prefix)
    if states.get("steps_per_epoch") not in (None, trainer.steps_per_epoch):
        trainer.progress.batch = 0  # the batches are others, so the epoch begins anew
        trainer.schedule.go_to(trainer.progress.epoch * trainer.steps_per_epoch)
    return states.get("settings", {})


def _restore_trained(trainer: Training, trained: dict[str, Any], prefix: Path) -> None:
    """The weights that are trained, where those of the checkpoint, which the model has, are their moving average."""
    load_into(trainer.model, trained, source=f"{prefix}{_AVERAGED}", reinit_head=False)


def _restore_losses(trainer: Training, saved: dict[str, Any], prefix: Path) -> None:
    """What losses have learned, or remember of earlier batches."""
    layers = trainer.loss.layers()
    if set(layers) != set(saved):
        raise UserError(
            f"Global.checkpoints: {prefix} has {', '.join(sorted(saved)) or 'no loss'} that learns, and Loss.Train has "
            f"{', '.join(sorted(layers)) or 'none'}; {_WEIGHTS_ALONE}"
        )
    for name, layer in layers.items():
        if not isinstance(saved[name], dict):
            raise UserError(f"{prefix}{_LOSSES}: {name}: found a {type(saved[name]).__name__}, not its state by name")
        load_into(layer, saved[name], source=f"{prefix}{_LOSSES}: {name}", reinit_head=False)


def _restore_optimizer(trainer: Training, saved: dict[str, Any], names_then: dict[str, str], prefix: Path) -> None:
    names_now = {name: parameter.name for name, parameter in trainer.named_parameters()}
    members = members_of(trainer.optimizer)
    several = isinstance(trainer.optimizer, OptimizerGroup)
    if several != ("0" in saved) or (several and len(saved) != len(members)):
        raise UserError(
            f"Global.checkpoints: {prefix}.pdopt is of {len(saved) if '0' in saved else 1} optimizers, and Optimizer "
            f"has {len(members)}"
        )
    states = [saved[str(index)] for index in range(len(members))] if several else [saved]
    for member, state in zip(members, states, strict=True):
        renamed = _renamed(state, names_then, names_now)
        kind = type(member).__name__
        moment = OPTIMIZERS.get(kind).moment if kind in OPTIMIZERS else None
        if trainer.progress.step and moment and not any(f"_{moment}_" in key for key in renamed):
            raise UserError(
                f"Global.checkpoints: {prefix}.pdopt has no {moment}, which Optimizer.name {kind} needs; "
                "it was written with another optimizer"
            )
        member.set_state_dict(renamed)


def _renamed(saved: dict[str, Any], names_then: dict[str, str], names_now: dict[str, str]) -> dict[str, Any]:
    """Optimizer state under the parameters' present names: Paddle numbers layers by the order they were made in."""
    renamed = {}
    for key, value in saved.items():
        if key == "master_weights":
            renamed[key] = {names_now[names_then[old]]: paddle.to_tensor(array) for old, array in value.items()}
            continue
        owner = max((old for old in names_then if key.startswith(f"{old}_")), key=len, default=None)
        renamed[key if owner is None else names_now[names_then[owner]] + key[len(owner) :]] = value
    return renamed
