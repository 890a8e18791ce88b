"""Checkpoints: `<prefix>.pdparams`, `.slim.json` (structure), `.pdopt` (optimizer), `.pdstates` (how far the run is).

Each file is replaced atomically, `.pdstates` last; it holds the checksums of the others, so that a checkpoint whose
writing was cut short between two files is recognised instead of being resumed from.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paddle

from ppcls_compress import io
from ppcls_compress.errors import UserError
from ppcls_compress.slim.recipe import Record, empty_record

if TYPE_CHECKING:
    from ppcls_compress.engine.loop import Trainer

_SUMMED = (".pdparams", ".slim.json", ".pdopt")


def plain_prefix(path: str | Path) -> Path:
    """The path of a checkpoint without `.pdparams`, which users may write or leave out."""
    text = str(path)
    return Path(text.removesuffix(".pdparams"))


def save_model(prefix: Path, model: paddle.nn.Layer, record: Record) -> None:
    """Write the weights and the compression record."""
    io.write_json(f"{prefix}.slim.json", record, indent=None)
    io.write_state(f"{prefix}.pdparams", model.state_dict())


def save(prefix: Path, trainer: Trainer, record: Record) -> None:
    """Write everything that is needed to go on exactly as if the run had not stopped."""
    save_model(prefix, trainer.model, record)
    io.write_state(f"{prefix}.pdopt", trainer.optimizer.state_dict())
    states = {
        "progress": asdict(trainer.progress),
        "seed": trainer.seed,
        "loss_scaling": trainer.precision.state_dict(),
        "parameter_names": {parameter.name: name for name, parameter in trainer.model.named_parameters()},
        "sha256": {suffix: io.sha256(f"{prefix}{suffix}") for suffix in _SUMMED},
    }
    io.write_state(f"{prefix}.pdstates", states)


def read_record(prefix: Path) -> Record:
    """The compression record beside weights; that of a dense model where there is none."""
    path = Path(f"{prefix}.slim.json")
    return io.read_json(path) if path.exists() else empty_record()


def read_states(prefix: Path) -> dict[str, Any]:
    """What `.pdstates` of a complete checkpoint says.

    Raises:
        UserError: a file is missing or was written by another save: the checkpoint is half-written.
    """
    states = io.read_state(f"{prefix}.pdstates")
    if "sha256" not in states or "progress" not in states:
        raise UserError(
            f"Global.checkpoints: {prefix}.pdstates was not written by this toolkit, so the run cannot go on exactly; "
            "start from its weights with Global.pretrained_model"
        )
    for suffix, expected in states["sha256"].items():
        path = Path(f"{prefix}{suffix}")
        if not path.exists() or io.sha256(path) != expected:
            raise UserError(
                f"Global.checkpoints: {prefix} is half-written ({path.name} is of another save); "
                "resume from another checkpoint of the folder, such as epoch_N"
            )
    return states


def restore(prefix: Path, trainer: Trainer) -> None:
    """Put optimizer, schedule and progress where `save` found them; the model's weights are loaded already.

    Raises:
        UserError: the checkpoint is half-written, or its optimizer is not the configured one.
    """
    states = read_states(prefix)
    for name, value in states["progress"].items():
        setattr(trainer.progress, name, value)
    trainer.seed = states["seed"]
    trainer.precision.set_state_dict(states["loss_scaling"])
    saved = io.read_state(f"{prefix}.pdopt")
    _restore_optimizer(trainer, _renamed(saved, states["parameter_names"], trainer.model), prefix)


def _renamed(saved: dict[str, Any], names_then: dict[str, str], model: paddle.nn.Layer) -> dict[str, Any]:
    """Optimizer state under the parameters' present names: Paddle numbers layers by the order they were made in."""
    names_now = {name: parameter.name for name, parameter in model.named_parameters()}
    renamed = {}
    for key, value in saved.items():
        if key == "master_weights":
            renamed[key] = {names_now[names_then[old]]: paddle.to_tensor(array) for old, array in value.items()}
            continue
        owner = max((old for old in names_then if key.startswith(f"{old}_")), key=len, default=None)
        renamed[key if owner is None else names_now[names_then[owner]] + key[len(owner) :]] = value
    return renamed


def _restore_optimizer(trainer: Trainer, state: dict[str, Any], prefix: Path) -> None:
    kind = type(trainer.optimizer).__name__
    moment = {"Momentum": "velocity", "AdamW": "moment1"}[kind]
    if trainer.progress.step and not any(f"_{moment}_" in key for key in state):
        raise UserError(
            f"Global.checkpoints: {prefix}.pdopt has no {moment}, which Optimizer.name {kind} needs; "
            "it was written with another optimizer"
        )
    trainer.optimizer.set_state_dict(state)
