"""One candidate: trained, exported, and judged on the images that the search may see.

`python -m ppcls_compress.search.trial FOLDER` carries out what `prepare` has written there, in a process of its own;
what is done already of it is not repeated.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from ppcls_compress import io
from ppcls_compress.config.load import load_config
from ppcls_compress.config.runs import run_folder
from ppcls_compress.config.schema import Config
from ppcls_compress.errors import UserError, one_line
from ppcls_compress.search.passing import may_pass

RECIPE, JOB, ROW, ANSWERS = "recipe.yaml", "job.json", "row.json", "answers.npz"
_RATES = ("learning_rate", "values", "base_learning_rate", "max_learning_rate", "warmup_start_lr", "end_lr",
          "end_learning_rate", "min_lr")  # fmt: skip
"""What schedules call their learning rates."""
_RENEWING = 8
"""Training batches that renew the statistics of batch norms after pruning: in a short training those of the dense
network would stay in their moving averages, and ranges would be calibrated on values that they distort."""


def recipe(base: Mapping[str, Any], slim: Mapping[str, Any], folder: Path, *, epochs: int, rate: float) -> dict:
    """The configuration of a candidate, a plain dictionary that `train` and `export_model` take as it is.

    Args:
        base: the user's, with overrides.
        folder: for checkpoints and artifacts.
        rate: what the learning rate is multiplied by.
    """
    common = {
        **base.get("Global", {}),
        "epochs": epochs,
        "eval_during_train": False,  # the best of several epochs would be chosen by images that are to decide later
        "save_interval": 0,
        "output_dir": str(folder / "run"),
        "save_inference_dir": str(folder / "artifact"),
    }
    slim = dict(slim)
    if "prune" in slim:
        slim["prune"] = {**slim["prune"], "bn_recalibration": _RENEWING}
    return {**base, "Global": common, "Slim": slim, "Optimizer": scaled(base["Optimizer"], rate)}


def scaled(optimizer: Any, rate: float) -> Any:
    """The same optimizers with their learning rates multiplied by `rate`."""
    if isinstance(optimizer, list):
        return [{name: scaled(one, rate) for name, one in entry.items()} for entry in optimizer]
    found = dict(optimizer)
    for key in ("lr", *_RATES):
        if isinstance(found.get(key), dict):
            found[key] = scaled(found[key], rate)
        elif key in found:
            found[key] = _times(found[key], rate)
    return found


def _times(value: Any, rate: float) -> Any:
    """A number, one that is written as arithmetic, or a list of such, times `rate`."""
    if isinstance(value, list):
        return [_times(each, rate) for each in value]
    return value * rate if isinstance(value, int | float) else f"({value})*{rate:g}"


def prepare(folder: Path, found: Mapping[str, Any], job: Mapping[str, Any]) -> None:
    """Write what `carry_out` reads.

    Args:
        found: the configuration, see `recipe`.
        job: `contract`, the user's configuration; `dense`, the dense artifact; `answers`, the folder of its
            `answers.npz`; `format`, `runtime`, whether it is `timed`, and the `profile`.
    """
    io.make_folder(folder)
    write_yaml(folder / RECIPE, found)
    io.write_json(folder / JOB, dict(job))


def write_yaml(file: Path, content: Mapping[str, Any], *, about: str = "") -> None:
    """A configuration as a file; `about` are comments at its top."""
    with io.atomic(file) as partial:
        text = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
        partial.write_text("".join(f"# {line}\n" for line in about.splitlines()) + text, encoding="utf-8")


def carry_out(folder: Path) -> None:
    """Train, export and judge; `row.json` is written last.

    Raises:
        UserError: the candidate cannot be trained or exported, or its artifact disagrees with it.
    """
    from ppcls_compress.engine import assemble
    from ppcls_compress.engine.logs import logging_to
    from ppcls_compress.search import judge, split

    if (folder / ROW).exists():
        return
    begun = time.monotonic()
    job = io.read_json(folder / JOB)
    contract = load_config(job["contract"])
    config = load_config(folder / RECIPE)
    seen, _ = split.halves(contract)
    config = config.model_copy(update={"DataLoader": seen.DataLoader})
    with logging_to(run_folder(config)):
        assemble.start(config)
        started = time.monotonic()
        _train(config)
        training = time.monotonic() - started
        place, record = _export(config, job["format"])
    found = judge.answers(seen, place, job["runtime"])
    judge.save(found, folder / ANSWERS)
    drop = judge.drop(seen, judge.load(Path(job["answers"]) / ANSWERS), found)
    cost = judge.costs(place, Path(job["dense"]), job["runtime"], timed=job["timed"])
    if job["profile"]:
        cost = replace(cost, latency=_predicted(config, record, Path(job["profile"])))
    row = {"artifact": str(place.relative_to(folder)), "drop": asdict(drop), "cost": asdict(cost)}
    io.write_json(folder / ROW, {**row, "seconds": time.monotonic() - begun, "training": training})


def _predicted(config: Config, record: Mapping[str, Any], profile: Path) -> float:
    """The latency of the network of a record, see `judge.predicted`."""
    from ppcls_compress.deploy.measure.layers import layers_of
    from ppcls_compress.engine import assemble
    from ppcls_compress.search import judge
    from ppcls_compress.slim import recipe as steps

    network = steps.rebuild(assemble.build_dense(config), steps.resized(record))
    quantized = (steps.step_of(record, "quant") or {}).get("quantized", ())
    return judge.predicted(config, layers_of(network, config.Global.image_shape), quantized, profile)


def _calibrated(config: Config) -> bool:
    """Whether it is quantized after training."""
    return config.Slim.quant is not None and config.Slim.quant.name == "ptq"


def _train(config: Config) -> None:
    from ppcls_compress.engine.train import train

    if _calibrated(config):
        config = config.model_copy(update={"Slim": config.Slim.model_copy(update={"quant": None})})
    latest = run_folder(config) / "latest"
    if Path(f"{latest}.pdstates").exists():
        resumed = config.Global.model_copy(update={"checkpoints": str(latest), "pretrained_model": None})
        config = config.model_copy(update={"Global": resumed})
    train(config)


def _export(config: Config, name: str) -> tuple[Path, dict[str, Any]]:
    """The folder of the artifact of the trained network, and its record."""
    from ppcls_compress.deploy import configured, formats
    from ppcls_compress.engine import assemble, calibration_run

    weights = {"pretrained_model": str(run_folder(config) / "latest")}
    config = config.model_copy(update={"Global": config.Global.model_copy(update=weights)})
    kind = formats.get(name)
    model, record = calibration_run.calibrated(config) if _calibrated(config) else assemble.build_model(config)
    plan = configured.plan(config, [kind], record, speed_only=False)
    directory = Path(config.Global.save_inference_dir)
    configured.export_all(config, model, record, directory, plan, class_names=assemble.class_names(config))
    return directory / kind.folder, record


def main(folder: Path) -> None:
    """Carry out; what would fail again is kept as the result, what may pass is raised.

    Raises:
        UserError: see `passing.may_pass`.
    """
    try:
        carry_out(folder)
    except UserError as error:
        if may_pass(error):
            raise
        io.write_json(folder / ROW, {"failed": one_line(error, 300)})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
