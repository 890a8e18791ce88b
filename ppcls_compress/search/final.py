"""The end of a search: which candidate keeps the contract on images that no choice has seen, and what it leaves."""

from __future__ import annotations

import math
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ppcls_compress import io, machine
from ppcls_compress.config.auto import Auto
from ppcls_compress.config.load import read_yaml
from ppcls_compress.deploy import formats
from ppcls_compress.engine.logs import logger
from ppcls_compress.errors import NotKeptError, UserError
from ppcls_compress.report import pareto as table
from ppcls_compress.search import judge, rows, trial
from ppcls_compress.search.bounds import levels
from ppcls_compress.search.preparing import Ready, deciding
from ppcls_compress.search.rows import Row
from ppcls_compress.search.workshop import Workshop

RESULT = "result"
_NEAREST = 3
_MANY_TIMES = 100
_TIMED = "timed.json"
_SHARES = "finalists.json"
"""The names of all that were finalists, in the order of their shares of the error, and the `max_drop` that they were
chosen by."""


@dataclass(frozen=True)
class Outcome:
    """What a search ended with.

    Attributes:
        row: of the chosen candidate.
        drop: on the images that decide.
        folder: of the result.
    """

    row: Row
    drop: judge.Drop
    folder: Path

    def told(self, cost: str) -> str:
        """What it loses on the images that decide, for they alone say so without bias, and what is left of the cost."""
        return (
            f"{self.drop.points:+.2f} points lost on the {self.drop.images} images that decide, less than "
            f"{self.drop.bound:.2f}, {self.row.shares[cost]:.1%} of the {cost}"
        )


def conclude(workshop: Workshop, ready: Ready, found: Sequence[Row]) -> Outcome:
    """Let the deciding images choose among the finalists; write the tables, and the result where there is one.

    Raises:
        NotKeptError: none keeps the contract.
        UserError: none does so far, and some failed for a reason that may pass.
    """
    auto = ready.seen.Slim.auto
    decision = _decide(workshop, ready, _finalists(workshop, found, auto))
    chosen, told = decision.chosen, decision.drops
    explained = rows.explained(found, auto, decision.failed, chosen.name if chosen else None)
    front = rows.pareto(explained, auto.cost)
    plain = [rows.plain(row, front) for row in explained]
    for row in plain:
        if row["name"] in told:
            row |= {"deciding_drop_points": told[row["name"]].points, "deciding_drop_bound": told[row["name"]].bound}
    table.write(plain, workshop.folder / "tried", cost=auto.cost, share=auto.share, max_drop=auto.max_drop)
    table.show(plain, cost=auto.cost)
    passing = [row for row in explained if row.passing]
    if passing:
        logger.warning(
            "%d of %d trainings failed for a reason that may pass, and say nothing of their candidates; the same "
            "command tries them again: %s, %s", len(passing), len(explained), passing[0].name, passing[0].lost
        )  # fmt: skip
    if chosen is None:
        withdraw(workshop)
        if passing:
            raise UserError(f"{passing[0].name}, {passing[0].lost}; nothing else keeps the contract so far, and it "
                            "may: mend that, and start the same command again")  # fmt: skip
        raise NotKeptError(_refusal(workshop, explained, told, ready))
    return Outcome(chosen, told[chosen.name], _hand_over(workshop, ready, chosen, told[chosen.name]))


def withdraw(workshop: Workshop) -> None:
    """Leave no result of a contract that was looser, or of a finalist that is not timed as it was."""
    shutil.rmtree(workshop.folder / RESULT, ignore_errors=True)


@dataclass
class _Decision:
    """What the images that decide say.

    Attributes:
        chosen: who keeps the contract; None where nobody does.
        drops: of those that were judged on these images, by name.
        failed: why the others do not keep it, by name.
    """

    chosen: Row | None = None
    drops: dict[str, judge.Drop] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def _finalists(workshop: Workshop, found: Sequence[Row], auto: Auto) -> list[Row]:
    """The finalists of the `max_drop` that was decided by first.

    Another one may be chosen by what the deciding images told, and must not choose with it whom they are shown. Whoever
    was shown and keeps the new one is among them.
    """
    file = workshop.folder / _SHARES
    if not file.exists():
        io.write_json(file, {"max_drop": auto.max_drop, "names": []})
    return rows.finalists(found, auto.model_copy(update={"max_drop": io.read_json(file)["max_drop"]}))


def _decide(workshop: Workshop, ready: Ready, finalists: Sequence[Row]) -> _Decision:
    """Judge one finalist after another until one keeps the contract."""
    auto, found = ready.seen.Slim.auto, _Decision()
    for row in finalists:
        if found.chosen is not None:
            _level(workshop, row)  # kept for it, or who has the next share would depend on what these images told
            continue
        row = _timed_anew(workshop, row)
        if rows.over(row, auto) > 0:
            found.failed[row.name] = (
                f"timed anew it takes {row.shares[auto.cost]:.1%} of the dense network's {auto.cost}, and "
                f"{auto.share:.1%} are allowed"
            )
            continue
        alpha = _level(workshop, row)
        found.drops[row.name] = drop = _judged(workshop, ready, row, alpha)
        logger.info("%s on %d images that decide: %+.2f points lost, less than %.2f with %.1f%% confidence", row.name,
                    drop.images, drop.points, drop.bound, 100 * (1 - alpha))  # fmt: skip
        if drop.bound <= auto.max_drop:
            found.chosen = row
            continue
        found.failed[row.name] = (
            f"on the {drop.images} images that decide it lost {drop.points:.2f} points, which may be {drop.bound:.2f}, "
            f"and {auto.max_drop:g} are allowed"
        )
    return found


def _level(workshop: Workshop, row: Row) -> float:
    """The share of the error that a finalist may make, see `levels`.

    A search that goes on, because something failed that may pass or `max_drop` is another, can have other finalists. A
    share that was given away is not given again, and none is given by what the deciding images told. So all bounds hold
    at once with 95% confidence, and `max_drop` may be chosen by them.
    """
    file = workshop.folder / _SHARES
    found = io.read_json(file)
    names = found["names"]
    if row.name not in names:
        names.append(row.name)
        io.write_json(file, found)
    return levels(len(names))[names.index(row.name)]


def _timed_anew(workshop: Workshop, row: Row) -> Row:
    """The finalist with a latency that did not choose it, measured once; as it is where latency does not count.

    The smallest of many measurements is smaller than what it measured, so it may not be the one that is promised.
    """
    if not workshop.timed:
        return row
    folder = workshop.place_of(row.folder)
    if not (folder / _TIMED).exists():
        runtime = workshop.config.Slim.auto.place[1]
        anew = judge.costs(folder / row.artifact, workshop.dense_artifact, runtime, timed=True)
        io.write_json(folder / _TIMED, {"latency": anew.latency})
    return replace(row, shares={**row.shares, **io.read_json(folder / _TIMED)})


def _judged(workshop: Workshop, ready: Ready, row: Row, alpha: float) -> judge.Drop:
    """How much a finalist loses on the images that decide."""
    folder = workshop.place_of(row.folder)
    answers = judge.answers(ready.kept, folder / row.artifact, ready.kept.Slim.auto.place[1])
    return judge.drop(ready.kept, judge.load(deciding(workshop, ready.kept)), answers, alpha)


def _hand_over(workshop: Workshop, ready: Ready, row: Row, drop: judge.Drop) -> Path:
    """Write the folder of the result, whole or not at all: artifact, recipe, tables, and what was promised."""
    auto, source = ready.seen.Slim.auto, workshop.place_of(row.folder)
    target, fresh = workshop.folder / RESULT, workshop.folder / f"{RESULT}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    kind = formats.get(auto.place[0])
    shutil.copytree(source / row.artifact, fresh / "artifact" / kind.folder)
    recipe = _again(workshop, source)
    file = f"{workshop.config.Global.output_dir}/{ready.seen.Arch.name}/{workshop.folder.name}/{RESULT}/{trial.RECIPE}"
    commands = _commands(recipe, file, f"{recipe['Global']['output_dir']}/{ready.seen.Arch.name}", kind.name)
    trial.write_yaml(fresh / trial.RECIPE, recipe, about="\n".join([row.title, *commands]))
    promise = {
        "candidate": row.title,
        "name": row.name,
        "max_drop": auto.max_drop,
        "drop_points": drop.points,
        "drop_bound": drop.bound,
        "deciding_images": drop.images,
        "cost": auto.cost,
        "allowed_share": auto.share,
        "shares": dict(row.shares),
        "runtime": auto.runtime,
        "machine": machine.cpu_name(),
        "instructions": machine.instructions(),
    }
    io.write_json(fresh / "contract.json", promise)
    for suffix in (".json", ".csv", ".png"):
        shutil.copy(workshop.folder / f"tried{suffix}", fresh / f"tried{suffix}")
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    return target


def _commands(recipe: Mapping[str, Any], file: str, run: str, format_name: str) -> list[str]:
    """What makes the artifact again from a recipe, in the folder that the search was started in.

    Args:
        file: where the recipe is.
        run: the folder that it is trained in.
    """

    def command(tool: str, more: str = "") -> str:
        return f"ppcls-compress {tool} -c {shlex.quote(file)}{more}"

    weights = f" -o Global.pretrained_model={shlex.quote(run)}/latest"
    export = f" --format {format_name}"
    if (recipe["Slim"].get("quant") or {}).get("name") != "ptq":
        return [command("train"), command("export_model", weights + export)]
    calibrated = f" -o Global.pretrained_model={shlex.quote(run)}/quantized"
    return [
        command("train", " -o Slim.quant=null"),
        command("quantize", weights),
        command("export_model", calibrated + export),
    ]


def _again(workshop: Workshop, source: Path) -> dict[str, Any]:
    """The configuration that trains and exports the chosen network again, in a folder beside the user's own runs.

    Not where the user's configuration exports to: the dense network may lie there, which no export takes the place of.
    """
    found, folder = read_yaml(source / trial.RECIPE), f"{workshop.config.Global.output_dir}/compressed"
    common = {**found["Global"], "output_dir": folder, "save_inference_dir": f"{folder}/inference"}
    return {**found, "Global": common}


def images_enough(drop: judge.Drop, allowed: float) -> int | None:
    """So many deciding images would have sufficed, in hundreds, had they shown the same loss.

    How far the bound lies beyond the loss falls with the square root of their number.

    Returns:
        None where that would be more than a hundred times as many, or the loss itself is too large.
    """
    if drop.points >= allowed:
        return None
    times = ((drop.bound - drop.points) / (allowed - drop.points)) ** 2
    return math.ceil(drop.images * times / 100) * 100 if times <= _MANY_TIMES else None


def _refusal(workshop: Workshop, explained: Sequence[Row], told: dict[str, judge.Drop], ready: Ready) -> str:
    """What was nearest, and what would have to be loosened for it."""
    auto = ready.seen.Slim.auto
    lines = [
        f"Slim.auto: none of {len(explained)} trainings keeps the contract; all are in {workshop.folder}/tried.csv"
    ]
    nearest: dict[int, Row] = {}
    for row in sorted(rows.ranked(explained, auto), key=lambda row: row.name not in told):
        nearest.setdefault(row.slot, row)
    for row in list(nearest.values())[:_NEAREST]:
        lines.append(f"{row.name}, {row.title}: {row.lost}; {row.shares[auto.cost]:.1%} of the {auto.cost}")
    loosened = [f"max_drop to {math.ceil(100 * drop.bound) / 100:.2f} for {name}" for name, drop in told.items()]
    enough = {name: images_enough(drop, auto.max_drop) for name, drop in told.items()}
    if name := min((name for name in enough if enough[name]), key=enough.get, default=None):
        loosened.append(
            f"{told[name].images:,} images that decide to about {enough[name]:,} if {name} loses as little on them"
        )
    if auto.share is not None:
        beyond = [row for row in rows.ranked(explained, auto) if rows.over(row, auto)]
        if beyond:
            nearest = min(beyond, key=lambda row: row.shares[auto.cost])
            loosened.append(f"target.{auto.cost} to {nearest.shares[auto.cost] + 0.005:.2f} for {nearest.name}")
    if loosened:
        lines.append(f"what would have to be loosened: {', or '.join(loosened)}; or give more trials and epochs")
    if auto.share is not None:
        lines.append("with another max_drop the same command decides anew, and trains nothing")
    return "\n".join(lines)
