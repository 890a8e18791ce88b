"""Which layers of a quantized network are to compute with integers on a machine, so that none makes it slower."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import paddle

from ppcls_compress import machine
from ppcls_compress.config.schema import Config
from ppcls_compress.deploy import artifact
from ppcls_compress.deploy.export import export
from ppcls_compress.deploy.kinds import BFLOAT16, Format
from ppcls_compress.deploy.measure import latency
from ppcls_compress.deploy.measure.layers import Layer, Table, layers_of, measure
from ppcls_compress.deploy.several import Plan
from ppcls_compress.engine import assemble
from ppcls_compress.engine.logs import logger
from ppcls_compress.errors import ConfigError, UserError
from ppcls_compress.slim import recipe
from ppcls_compress.slim.copying import copied
from ppcls_compress.slim.options import SlimOptions

Variant = tuple[paddle.nn.Layer, recipe.Record]
INTEGERS, MIXED, FLOAT = "integers", "mixed", "float"
_WORTH = 0.98
"""A placement is taken in place of a simpler one if it takes at most this share of its time; more is noise."""
_ROUNDS = 90
_SHOWN = 12


@dataclass(frozen=True)
class Placement:
    """A network with each layer in integers or in float.

    Attributes:
        variant: the network and its record.
        floats: layers that are in float, for they are faster so; none where all are.
        setting: of the runtime, in which float is computed; empty for the usual one.
    """

    variant: Variant
    floats: tuple[str, ...] = ()
    setting: str = ""


@dataclass(frozen=True)
class Tuned:
    """What was chosen.

    Attributes:
        model: the network, layers that are faster in float not rounded any more.
        record: of it.
        notes: machine, instruction set, what was chosen and what it takes.
        setting: of the runtime that it was chosen in; empty for the usual one.
        exact: what was chosen of those in the usual setting; None where that is this one.
    """

    model: paddle.nn.Layer
    record: recipe.Record
    notes: tuple[str, ...]
    setting: str = ""
    exact: Tuned | None = None


def tune(
    config: Config,
    variant: Variant,
    kind: Format,
    plan: Plan,
    profile: Path | None,
    *,
    batch: int = 1,
    bfloat16: bool = False,
) -> Tuned:
    """The fastest of a quantized network in integers, in float, and with layers of both kinds.

    The layers are chosen by `cheapest` from times of single layers. Here whole files then decide, timed in turns. By
    the profile of another machine its sums decide, for nothing can be timed there. A runtime takes bfloat16 for all
    that is not in integers or for nothing, so that each of the three may be in it, the mixed one with layers chosen by
    their times in bfloat16.

    Args:
        variant: the quantized network and its record.
        plan: for calibration images.
        profile: what ppcls-compress profile wrote on another machine; None times this one.
        batch: images at a time.
        bfloat16: whether what is not in integers may compute in it, where runtime and processor can; not by a profile,
            which has no times in it.

    Raises:
        UserError: the network is not quantized, the profile is of other layers, or a file does not run.
    """
    step = recipe.step_of(variant[1], "quant")
    if step is None:
        raise UserError("--tune: chooses between integers and float, and this network is not quantized")
    found = layers_of(
        recipe.rebuild(assemble.build_dense(config), recipe.resized(variant[1])), config.Global.image_shape
    )
    runtime = kind.runtime().name
    table = Table.load(profile) if profile else measure(found, runtime, batch=batch)
    if profile:
        _check_profile(table, profile, kind, batch)
    placements = _placements(config, variant, found, table)
    if bfloat16:
        reduced = measure(found, runtime, batch=batch, precision="bf16")
        for name, placement in _placements(config, variant, found, reduced).items():
            placements[f"{name} in {BFLOAT16}"] = replace(placement, setting=BFLOAT16)
    variants = {name: placement.variant for name, placement in placements.items()}
    taken = _predicted(found, table, variants) if profile else _timed(config, placements, kind, plan, batch)
    about = _about(table, taken, elsewhere=profile is not None, batch=batch)

    def tuned(choice: str, exact: Tuned | None = None) -> Tuned:
        placement = placements[choice]
        return Tuned(*placement.variant, _notes(about, choice, placement, kind), placement.setting, exact)

    choice = chosen(taken)
    if not placements[choice].setting:
        return tuned(choice)
    usual = {name: taken[name] for name, placement in placements.items() if not placement.setting}
    return tuned(choice, tuned(chosen(usual)))


def _placements(config: Config, variant: Variant, layers: Sequence[Layer], table: Table) -> dict[str, Placement]:
    """Integers throughout, float throughout, and what is the cheapest by a table, where that is neither."""
    step = recipe.step_of(variant[1], "quant")
    integers = cheapest(layers, table, step["quantized"])
    floats = tuple(name for name in step["quantized"] if name not in integers)
    found = {INTEGERS: Placement(variant), FLOAT: Placement(in_float(variant))}
    if 0 < len(floats) < len(step["quantized"]) and "places" not in step:
        try:
            found[MIXED] = Placement(_partly(config, variant, floats), floats)
        except ConfigError as error:  # a rule of its own for layers that would all be float
            logger.warning("--tune: integers and float are not mixed: Slim.quant.%s", error)
    return found


def _check_profile(table: Table, profile: Path, kind: Format, batch: int) -> None:
    runtime, found = kind.runtime().name, table.about.get("batch", 1)
    if table.about.get("runtime") != runtime:
        raise UserError(f"--profile: {profile} is of {table.about.get('runtime')}, and {kind.name} runs in {runtime}")
    if found != batch:
        raise UserError(f"--profile: {profile} is of batches of {found}, and --tune asks for {batch}")


def cheapest(layers: Sequence[Layer], table: Table, quantized: Collection[str]) -> set[str]:
    """The layers that compute with integers in the fastest placement, by dynamic programming.

    Layers are passed in the order of computation, each in one of two states; a change between them costs rounding or
    reading back what the next layer reads. The image comes in float.

    Args:
        quantized: names of the layers that may compute with integers.
    """
    best: dict[bool, tuple[float, tuple[str, ...]]] = {False: (0.0, ())}
    for layer in layers:
        times, found = table.times(layer), {}
        for integer in (False, True) if layer.name in quantized else (False,):
            own = times.integer if integer else times.float
            arrivals = [
                (cost + own + (times.switch if before is not integer else 0.0), names)
                for before, (cost, names) in best.items()
            ]
            cost, names = min(arrivals)
            found[integer] = (cost, (*names, layer.name) if integer else names)
        best = found
    return set(min(best.values())[1])


def chosen(taken: Mapping[str, float]) -> str:
    """The one to write: the first, unless a later one is faster than what was chosen before it by more than noise.

    Args:
        taken: milliseconds, by name, the simplest first.
    """
    names = iter(taken)
    best = next(names)
    for name in names:
        if taken[name] <= _WORTH * taken[best]:
            best = name
    return best


def in_float(variant: Variant) -> Variant:
    """Without quantization."""
    model, record, _ = recipe.keep_wanted(copied(variant[0]), SlimOptions(), variant[1])
    model.eval()
    return model, record


def _partly(config: Config, variant: Variant, floats: Sequence[str]) -> Variant:
    """With these layers in float, as if `Slim.quant.skip` had named them."""
    model, record = variant
    kinds = {name: type(layer).__name__ for name, layer in model.named_sublayers()}
    steps = []
    for step in record["steps"]:
        if step["kind"] == "quant":
            left_out = [{"layer": name, "type": kinds[name], "reason": "faster in float"} for name in floats]
            step = {
                **step,
                "options": {**step["options"], "skip": [*step["options"]["skip"], *floats]},
                "quantized": [name for name in step["quantized"] if name not in floats],
                "skipped": [*step["skipped"], *left_out],
            }
        steps.append(step)
    record = {**record, "steps": steps}
    network = recipe.rebuild(assemble.build_dense(config), record)
    state = model.state_dict()
    network.set_state_dict({name: state[name] for name in network.state_dict()})
    network.eval()
    return network, record


def _timed(
    config: Config, placements: Mapping[str, Placement], kind: Format, plan: Plan, batch: int
) -> dict[str, float]:
    """Milliseconds of whole files on one thread, in turns."""
    shape = config.Global.image_shape
    calibration = plan.calibration.batches if plan.calibration is not None else None
    with tempfile.TemporaryDirectory() as folder:
        for name, placement in placements.items():
            model, record = placement.variant
            about = artifact.Description(shape, format=kind.name, setting=placement.setting)
            export(model, Path(folder) / name, description=about, record=record, calibration=calibration)
        places = {name: Path(folder) / name for name in placements}
        taken = latency.measure(places, [batch, *shape], rounds=_ROUNDS)
    return {name: found.median_ms for name, found in taken.items()}


def _predicted(layers: Sequence[Layer], table: Table, variants: Mapping[str, Variant]) -> dict[str, float]:
    """Milliseconds by a table."""
    steps = {name: recipe.step_of(record, "quant") for name, (_, record) in variants.items()}
    return {name: table.predicted(layers, step["quantized"] if step else ()) for name, step in steps.items()}


def _about(table: Table, taken: Mapping[str, float], *, elsewhere: bool, batch: int) -> tuple[str, str]:
    """What was tuned for, and how long everything took."""
    times = ", ".join(f"{name} {value:.3f} ms" for name, value in taken.items())
    how = "by its profile" if elsewhere else "timed as files"
    about = table.about
    features = " ".join(about.get("instructions", ())) or machine.cpu_name()
    where = f"{about.get('machine')} ({features}) in {about.get('runtime')}, batch {batch}"
    return f"tuned for {where}", f"{how}: {times}"


def _notes(about: tuple[str, str], choice: str, placement: Placement, kind: Format) -> tuple[str, ...]:
    lines = [f"{about[0]}: {choice}; {about[1]}"]
    if placement.floats:
        shown, count = placement.floats[:_SHOWN], len(placement.floats)
        rest = f" and {count - _SHOWN} more" if count > _SHOWN else ""
        lines.append(f"in float, for they are faster so: {', '.join(shown)}{rest}")
    lines += [item.note for item in kind.runtime().rounding if item.name == placement.setting]
    return tuple(lines)
