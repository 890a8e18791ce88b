"""The toolkit as a library, as short as the YAML: for any `paddle.nn.Layer`, with any training loop.

Users take these from the package itself: `import ppcls_compress as pc`, `pc.compress(...)`.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from pydantic import ValidationError

from ppcls_compress import paddle_version
from ppcls_compress.config.load import explain
from ppcls_compress.config.schema import SlimSection
from ppcls_compress.data.transforms.lists import parse_transforms
from ppcls_compress.deploy import artifact, configured, several, verify
from ppcls_compress.deploy import export as exporting
from ppcls_compress.deploy.formats import chosen as chosen_formats
from ppcls_compress.deploy.network import fingerprint
from ppcls_compress.engine import checkpoint
from ppcls_compress.engine.samples import Samples
from ppcls_compress.errors import ConfigError, UserError, shortened
from ppcls_compress.models.weights import load_into
from ppcls_compress.report import benchmark as timing
from ppcls_compress.slim import cost, recipe
from ppcls_compress.slim.copying import copied
from ppcls_compress.slim.inputs import Inputs, specs
from ppcls_compress.slim.options import SlimOptions
from ppcls_compress.slim.quant import analysis, convert, quant_layers

Batches = Iterable[Any] | Callable[[], Iterable[Any]]
"""Batches of what a network takes, tensors or arrays, labels behind them or not: a `paddle.io.DataLoader`, a list, a
generator, or a function that gives one. An array [N, C, H, W] stands for the batches that it makes."""

_BATCH = 32
_RANDOM = 64


def compress(
    net: paddle.nn.Layer,
    slim: Mapping[str, Any] | SlimOptions,
    *,
    example: Inputs,
    batches: Batches | None = None,
    record: recipe.Record | None = None,
    calibration_batches: int = recipe.CALIBRATION_BATCHES,
    gradients: Callable[[paddle.nn.Layer], None] | None = None,
    train: Callable[[paddle.nn.Layer, recipe.Record], None] | None = None,
) -> tuple[paddle.nn.Layer, recipe.Record]:
    """Make a network smaller, as the `Slim` section of a configuration would.

    Args:
        net: changed in place where it can be; go on with what is returned.
        slim: `{"prune": {...}, "quant": {...}}`, the keys and defaults of the YAML; or the option object.
        example: a shape such as [1, 3, 224, 224], or shapes, InputSpecs or tensors, one for each argument of `forward`.
        batches: for the ranges of activations, and for batch-norm statistics; quantization needs them.
        record: what was done to `net` before, from an earlier call; only what it lacks is done.
        calibration_batches: how many batches the ranges come from.
        gradients: runs backward passes, for `prune: {name: taylor}`.
        train: trains a network between two steps of `prune: {iterative: ...}`; it gets the record so far too.

    Returns:
        The smaller network, to be trained and saved, and the record: plain JSON that rebuilds its structure.

    Raises:
        ConfigError: a key or value of `slim`; the message names it.
        UserError: nothing can be pruned or quantized, what an option needs is not given, or weights that the forward
            pass reads are no part of the network, as those of layers in a plain list.

    Examples:
        >>> import ppcls_compress as pc
        >>> slim = {"prune": {"name": "fpgm", "pruned_ratio": 0.5}, "quant": {"name": "pact"}}
        >>> small, record = pc.compress(net, slim, example=[1, 3, 16, 16], batches=images)
        >>> [step["kind"] for step in record["steps"]]
        ['prune', 'quant']
    """
    paddle_version.check()
    options = _options(slim)
    given = None if batches is None else _replayed(batches, _needed(options, calibration_batches))
    inputs = specs(example)
    context = recipe.Context(
        batches=None if given is None else lambda: _inputs_of(given(), len(inputs)),
        calibration_batches=calibration_batches,
        gradients=gradients,
        latency=lambda network: _milliseconds(network, inputs),
        train=train,
    )
    small, record = recipe.compress(_layer(net), options, example, record=record, context=context)
    return small, json.loads(json.dumps(record))  # the same whether it was saved meanwhile or not


def save(net: paddle.nn.Layer, record: recipe.Record, path: str | Path) -> None:
    """Write `<path>.pdparams` and `<path>.slim.json`, as a checkpoint of the command `train` has them.

    Raises:
        UserError: a file cannot be written, or `record` is none.

    Examples:
        >>> import ppcls_compress as pc
        >>> small, record = pc.compress(net, {"prune": {}}, example=[1, 3, 16, 16])
        >>> pc.save(small, record, f"{folder}/small")
    """
    if not isinstance(record, Mapping):
        raise UserError(f"save: give the record that compress or load returned, found {shortened(record)}")
    checkpoint.save_model(checkpoint.plain_prefix(path), _layer(net), record)


def load(net: paddle.nn.Layer, path: str | Path) -> tuple[paddle.nn.Layer, recipe.Record]:
    """Give a fresh dense network the structure and the weights that `save`, or a training run, wrote.

    Args:
        net: as it was built, not compressed; changed in place where it can be; go on with what is returned.
        path: with or without `.pdparams`, or a `.safetensors` file.

    Raises:
        UserError: a file is missing or damaged, or it is of another network. Nothing is loaded in part.

    Examples:
        >>> import ppcls_compress as pc
        >>> small, record = pc.compress(net, {"prune": {}}, example=[1, 3, 16, 16])
        >>> pc.save(small, record, f"{folder}/small")
        >>> again, record = pc.load(build(), f"{folder}/small")
        >>> bool((again(images) == small(images)).all())
        True
    """
    state, record = checkpoint.read_weights(path)
    rebuilt = recipe.rebuild(_layer(net), record)
    load_into(rebuilt, state, source=str(path), reinit_head=False)
    return rebuilt, record


def export(
    net: paddle.nn.Layer,
    directory: str | Path,
    *,
    record: recipe.Record | None = None,
    formats: str | Sequence[str] = ("paddle",),
    check: np.ndarray | tuple[np.ndarray, np.ndarray] | None = None,
    calibration: np.ndarray | None = None,
    image_shape: Sequence[int] | None = None,
    preprocess: Sequence[Mapping[str, Any]] = (),
    class_names: Sequence[str] | None = None,
    agreement: float | Mapping[str, float] | None = None,
) -> list[exporting.ExportResult]:
    """Write a classifier as artifacts that run without this toolkit, each compared with `net` in a fresh process.

    Args:
        net: images [N, C, H, W] to logits [N, classes].
        directory: of all formats; some have a sub-folder of it.
        record: what `compress` gave; a dense network, or one that is only pruned, needs none.
        formats: names as `export_model --format` takes them, or `all`.
        check: prepared images [N, C, H, W], or a pair of them and their labels [N], to compare on; without any, 64
            random ones, which must agree but for ties.
        calibration: prepared images for ranges that training does not learn; `check` where it is not given.
        image_shape: (C, H, W), where there is no `check`.
        preprocess: `Infer.transforms` of the YAML, for a `Predictor` to prepare files with.
        class_names: by class index.
        agreement: share of equal classes that is enough, for all formats or by format, in place of their defaults.

    Raises:
        UserError: a format could not be written or does not compute what `net` does, a line for each; what was there
            of it before stays.

    Examples:
        >>> import ppcls_compress as pc
        >>> (result,) = pc.export(net, f"{folder}/inference", check=images.numpy())
        >>> result.parity.agreement
        1.0
    """
    net, record = _layer(net), record or recipe.empty_record()
    _check_record(net, record)
    images, labels = check if isinstance(check, tuple) else (check, None)
    if images is None and image_shape is None:
        raise UserError("export: give images to compare on, check=..., or at least image_shape=(3, 224, 224)")
    samples = _samples(images, labels, image_shape)
    chosen = _chosen(formats)
    wanted, needing = several.needed(chosen, record)
    if needing and calibration is None and images is None:
        raise UserError(f"{needing[0]}: rounds tensors whose range training does not learn; give calibration images")
    given = samples if calibration is None else _samples(calibration, None, None)
    plain = convert(copied(net)) if quant_layers(net) else net  # learned ranges are no parameters of what is deployed
    counted = cost.count(plain, [[1, *samples.images.shape[1:]]])
    description = artifact.Description(
        image_shape=tuple(samples.images.shape[1:]),
        preprocess=parse_transforms(preprocess) if preprocess else (),
        class_names=None if class_names is None else tuple(class_names),
        model_name=type(net).__name__,
        params=counted.params,
        flops=counted.flops,
        network=fingerprint(net),
    )
    reference = verify.reference(net, samples.images, samples.labels, source=samples.source, synthetic=images is None)
    plan = several.Plan(wanted, samples, given if needing else None, needing)
    each = agreement if isinstance(agreement, Mapping) else dict.fromkeys((kind.name for kind in wanted), agreement)
    return several.export_formats(net, record, Path(directory), plan, description, reference, agreement=each)


def benchmark(
    artifacts: Mapping[str, str | Path], *, threads: int = 1, batch: int = 1, rounds: int = 51
) -> list[dict[str, Any]]:
    """Time exported models in every runtime, in fresh processes that take turns, as the command `benchmark` does.

    Args:
        artifacts: folders by name; ratios are to the first one.
        threads: for the arithmetic of each.
        batch: images at a time.
        rounds: how often each is timed, in three processes, of which the one in the middle counts.

    Returns:
        A row for each model and runtime: name, compression, format, runtime, threads, batch, median_ms, p90_ms,
        images_per_second, peak_mb, disk_mb, speedup, over_fastest.

    Raises:
        MissingDependencyError: a runtime is not installed.
        UserError: a folder holds no artifact, or they take images of different shapes.

    Examples:
        >>> import ppcls_compress as pc
        >>> _ = pc.export(net, f"{folder}/dense", check=images.numpy())
        >>> (row,) = pc.benchmark({"dense": f"{folder}/dense"}, rounds=3)
        >>> row["compression"], row["speedup"]
        ('dense', 1.0)
    """
    if not isinstance(artifacts, Mapping) or not artifacts:
        raise UserError(
            f'benchmark: expected folders by name, such as {{"int8": FOLDER}}, found {shortened(artifacts)}'
        )
    models = timing.entries({name: str(folder) for name, folder in artifacts.items()})
    return [asdict(row) for row in timing.measure(models, threads=threads, batch=batch, rounds=rounds)]


def analyze(
    net: paddle.nn.Layer,
    slim: Mapping[str, Any] | SlimOptions | None = None,
    *,
    batches: Batches,
    example: Inputs | None = None,
    calibration_batches: int = recipe.CALIBRATION_BATCHES,
) -> list[analysis.Row]:
    """What quantization does to each layer, why, and what helps; the noisiest layer first.

    Args:
        net: a quantized network; or a float one, which is copied and quantized as `slim` says.
        slim: `{"quant": {...}}` for a float network.
        batches: what is looked at, and calibrated on.
        example: as `compress` takes it; the first batch by default.
        calibration_batches: how many batches are looked at, at most.

    Raises:
        UserError: no layer is quantized, or there are no batches.

    Examples:
        >>> import ppcls_compress as pc
        >>> rows = pc.analyze(net, {"quant": {"name": "ptq"}}, batches=images)
        >>> rows[0].output_db <= rows[-1].output_db
        True
    """
    given = _replayed(batches, calibration_batches)
    arguments = 1 if example is None else len(specs(example))
    looked_at = list(itertools.islice(_inputs_of(given(), arguments), calibration_batches))
    if not looked_at:
        raise UserError("analyze: there are no batches to look at")
    net = _layer(net)
    if slim is not None:
        if _options(slim).quant is None:
            raise ConfigError("Slim: quant: how is a float network to be quantized? Name it, such as {name: ptq}")
        shape = [looked_at[0]] if example is None else example
        net = compress(copy.deepcopy(net), slim, example=shape, batches=given, calibration_batches=len(looked_at))[0]
    return list(analysis.analyze(net, looked_at))


def _layer(net: paddle.nn.Layer | paddle.Model) -> paddle.nn.Layer:
    found = net.network if isinstance(net, paddle.Model) else net
    if not isinstance(found, paddle.nn.Layer):
        raise UserError(f"expected a paddle.nn.Layer, found {type(net).__name__}")
    return found


def _options(slim: Mapping[str, Any] | SlimOptions) -> SlimOptions:
    if isinstance(slim, SlimOptions):
        return slim
    if not isinstance(slim, Mapping) or not slim:
        raise ConfigError(
            f'Slim: expected steps such as {{"prune": {{...}}, "quant": {{...}}}}, found {shortened(slim)}'
        )
    data = dict(slim)
    try:
        section = SlimSection.model_validate(data)
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error, data, "Slim"))) from None
    if section.distill is not None:
        raise ConfigError("Slim: distill: what a network learns from is a matter of training it; leave it out here")
    if section.auto is not None:
        raise ConfigError("Slim: auto: is searched by the command compress, which trains; name prune and quant here")
    return section.options


def _needed(options: SlimOptions, calibration_batches: int) -> int:
    """How many batches are read at most."""
    return max(calibration_batches, options.prune.bn_recalibration if options.prune else 0)


def _replayed(batches: Batches, count: int) -> Callable[[], Iterable[Any]]:
    """A function that gives the batches each time; what can be read only once is kept, as much as is needed."""
    if callable(batches) and not isinstance(batches, paddle.Tensor):
        return batches
    if isinstance(batches, np.ndarray | paddle.Tensor):
        return lambda: (batches[start : start + _BATCH] for start in range(0, len(batches), _BATCH))
    if isinstance(batches, Iterator):
        kept = list(itertools.islice(batches, count))
        return lambda: kept
    return lambda: batches


def _inputs_of(batches: Iterable[Any], arguments: int) -> Iterator[Any]:
    """What a network takes of each batch: of a list, as many entries as it has arguments."""
    for batch in batches:
        if not isinstance(batch, list | tuple):
            yield _tensor(batch)
        elif arguments == 1:
            yield _tensor(batch[0])
        else:
            yield [_tensor(item) for item in batch[:arguments]]


def _tensor(item: Any) -> Any:
    if not isinstance(item, np.ndarray):
        return item
    return paddle.to_tensor(item.astype(paddle.get_default_dtype()) if item.dtype == np.float64 else item)


def _milliseconds(net: paddle.nn.Layer, inputs: Sequence[Any]) -> float:
    """What one image takes in Paddle Inference, one thread."""
    shape = [int(size) for size in inputs[0].shape]
    if len(inputs) != 1 or len(shape) != 4:
        raise UserError("target_latency_ms: is measured on networks that take images alone, [1, C, H, W]")
    return configured.milliseconds(net, shape[1:])


def _samples(images: np.ndarray | None, labels: np.ndarray | None, image_shape: Sequence[int] | None) -> Samples:
    if images is None:
        drawn = np.random.default_rng(0).standard_normal((_RANDOM, *image_shape), np.float32)
        return Samples(drawn, None, "random images")
    images = np.asarray(images.numpy() if isinstance(images, paddle.Tensor) else images, np.float32)
    if images.ndim != 4 or not len(images):
        raise UserError(f"export: expected images [N, C, H, W], found {list(images.shape)}")
    if labels is not None and len(labels) != len(images):
        raise UserError(f"export: {len(labels)} labels for {len(images)} images")
    return Samples(images, None if labels is None else np.asarray(labels, np.int64).reshape(-1), "given images")


def _check_record(net: paddle.nn.Layer, record: recipe.Record) -> None:
    """Refuse a quantized network whose record is not given: what is exported follows from it."""
    if quant_layers(net) and recipe.step_of(record, "quant") is None:
        raise UserError("export: the network is quantized; give the record that compress or load returned, record=...")


def _chosen(names: str | Sequence[str]) -> list[Any]:
    chosen = chosen_formats([names] if isinstance(names, str) else list(names), where="formats")
    for kind in chosen:
        kind.require()
    return chosen
