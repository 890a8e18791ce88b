"""Where a run of a configuration keeps what it trains, and which of it is meant where no weights are named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from ppcls_compress import io
from ppcls_compress.config.schema import Config
from ppcls_compress.config.together import NAME as TOGETHER
from ppcls_compress.download import is_url
from ppcls_compress.errors import ConfigError
from ppcls_compress.slim.record import check, step_of

_KEY = "Global.pretrained_model"
QUANTIZED = "quantized"
"""What `quantize` calls the weights that it writes."""


def run_folder(config: Config) -> Path:
    """Where a run's checkpoints and log go: `<output_dir>/<Arch.name>`."""
    return Path(config.Global.output_dir) / (config.Arch.name if config.Arch.together is None else TOGETHER)


def own_weights(config: Config) -> Path | None:
    """What a run of the configuration left, without its ending: `best_model`, or `latest` where nothing was evaluated.

    Where `Slim.quant` quantizes without training, what `quantize` wrote comes first. None where there is nothing.
    """
    calibrated = config.Slim is not None and config.Slim.quant is not None and config.Slim.quant.name == "ptq"
    names = (*((QUANTIZED,) if calibrated else ()), "best_model", "latest")
    prefixes = (run_folder(config) / name for name in names)
    return next((prefix for prefix in prefixes if io.weights_file(prefix).is_file()), None)


def trained(config: Config, overrides: Sequence[str]) -> tuple[Config, str]:
    """The configuration whose weights are trained ones, and what to tell of them; empty where nothing needs telling.

    What `-o` names is taken. Of a file, `Global.pretrained_model` is taken too, as PaddleClas does, unless the run only
    started from it: it lacks a step of the `Slim` section which the run's own weights have. `Arch.pretrained` is what
    a run starts from, so its own weights come first.

    Args:
        overrides: the texts of `-o`.

    Raises:
        ConfigError: nothing is named and the run's folder has nothing.
    """
    named, own = config.Global.pretrained_model, own_weights(config)
    if config.Global.checkpoints or _by_hand(config, overrides):
        return config, ""
    if own is None:
        if not (named or config.Arch.pretrained):
            raise ConfigError(_nothing(config))
        folder = run_folder(config)
        told = f"weights: as Arch.pretrained says; a run of this configuration has left none in {folder}"
        return config, "" if named else told
    if not named:
        start = "; Arch.pretrained is what it started from" if config.Arch.pretrained else ""
        return _with(config, own), f"weights: {own}, of this configuration's own run{start}"
    lacking = [kind for kind in _steps_lacking(config, named) if kind not in _steps_lacking(config, own)]
    if not lacking or io.weights_file(named) == io.weights_file(own):
        return config, beside_own(config)
    return (
        _with(config, own),
        f"weights: {own}, of this configuration's own run; it started from {_KEY}, {named}, which lacks "
        f"Slim.{' and Slim.'.join(lacking)}",
    )


def beside_own(config: Config) -> str:
    """What to tell of weights that are named where the configuration's own run left others; else an empty text."""
    named, own = config.Global.pretrained_model, own_weights(config)
    if not named or own is None or io.weights_file(named) == io.weights_file(own):
        return ""
    return f"weights: {named}, as {_KEY} says; what this configuration's own run left is {own}"


def _with(config: Config, prefix: Path) -> Config:
    return config.model_copy(update={"Global": config.Global.model_copy(update={"pretrained_model": str(prefix)})})


def _by_hand(config: Config, overrides: Sequence[str]) -> bool:
    """Whether `-o` names weights: of a file's own it is not known whether they are what training starts from."""
    keys = {text.partition("=")[0].strip() for text in overrides}
    return bool(
        (_KEY in keys and config.Global.pretrained_model) or ("Arch.pretrained" in keys and config.Arch.pretrained)
    )


def _steps_lacking(config: Config, prefix: str | Path) -> list[str]:
    """The steps of the `Slim` section that weights lack, by the record beside them.

    Published ones have none. A file without a record may be of PaddleSlim's QAT, and be quantized.

    Raises:
        UserError: the file is no record.
    """
    if config.Slim is None:
        return []
    options, path = config.Slim.options, Path(f"{io.plain_prefix(prefix)}.slim.json")
    wanted = [field.name for field in fields(options) if getattr(options, field.name) is not None]
    if path.is_file():
        record = check(io.read_json(path), path)
        return [kind for kind in wanted if step_of(record, kind) is None]
    return wanted if is_url(str(prefix)) else [kind for kind in wanted if kind != "quant"]


def _nothing(config: Config) -> str:
    """That no weights are named, and that the folder of the run has none."""
    folder = run_folder(config)
    found = sorted({path.stem for pattern in ("*.pdparams", "*.safetensors") for path in folder.glob(pattern)})
    state = f"has only {', '.join(found[:5])}" if found else "has none" if folder.is_dir() else "does not exist"
    example = folder / (found[0] if found else "best_model")
    return (
        f"{_KEY}: name the trained weights, such as -o {_KEY}={example}; without "
        f"it best_model or latest of this configuration's own run is taken, from {folder}, which {state}"
    )
