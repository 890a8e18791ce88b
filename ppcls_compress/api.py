"""The toolkit as a library, as short as the YAML: for any `paddle.nn.Layer`, with any training loop.

Users take these from the package itself: `import ppcls_compress as pc`, `pc.compress(...)`.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppcls_compress import arguments, paddle_version
from ppcls_compress.arguments import Batches
from ppcls_compress.deploy import artifact, configured, replacing, several, verify
from ppcls_compress.deploy import export as exporting
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
from ppcls_compress.slim.restoring import put_back_on_failure


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
        net: changed in place where it can be; go on with what is returned. Where an error is raised it is as it was
            before the call, bit for bit.
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
    network, options = arguments.layer(net), arguments.options(slim)
    before = arguments.record_of(network, record, "compress")
    needed = _needed(options, arguments.count(calibration_batches, "calibration_batches"))
    given = None if batches is None else arguments.replayed(batches, needed)
    inputs = specs(example)
    context = recipe.Context(
        batches=None if given is None else lambda: arguments.inputs_of(given(), len(inputs)),
        calibration_batches=calibration_batches,
        gradients=gradients,
        latency=lambda network: _milliseconds(network, inputs),
        train=train,
    )
    small, record = recipe.compress(network, options, example, record=before, context=context)
    return small, json.loads(json.dumps(record))  # the same whether it was saved meanwhile or not


def save(net: paddle.nn.Layer, record: recipe.Record, path: str | Path) -> None:
    """Write `<path>.pdparams` and `<path>.slim.json`, as a checkpoint of the command `train` has them.

    Raises:
        UserError: a file cannot be written, `record` is none, or it is that of another network: its quantized layers or
            the shapes of its parameters are others.

    Examples:
        >>> import ppcls_compress as pc
        >>> small, record = pc.compress(net, {"prune": {}}, example=[1, 3, 16, 16])
        >>> pc.save(small, record, f"{folder}/small")
    """
    network = arguments.layer(net)
    if record is None:
        raise UserError("save: give the record that compress or load returned, found None")
    found = arguments.record_of(network, record, "save")
    checkpoint.save_model(checkpoint.plain_prefix(arguments.path(path, "save")), network, found)


def load(net: paddle.nn.Layer, path: str | Path) -> tuple[paddle.nn.Layer, recipe.Record]:
    """Give a fresh dense network the structure and the weights that `save`, or a training run, wrote.

    Args:
        net: as it was built, not compressed; changed in place where it can be; go on with what is returned. Where an
            error is raised it is as it was before the call.
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
    network = arguments.layer(net)
    state, record = checkpoint.read_weights(arguments.path(path, "load"))
    with put_back_on_failure(network):
        rebuilt = recipe.rebuild(network, record)
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
    overwrite: bool = False,
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
        overwrite: replace what the command exported from weights that a file holds, or another program's files.

    Raises:
        UserError: the folder of a format holds what `overwrite` is for; or a format could not be written or does not
            compute what `net` does, a line for each; what was there of it before stays.

    Examples:
        >>> import ppcls_compress as pc
        >>> (result,) = pc.export(net, f"{folder}/inference", check=images.numpy())
        >>> result.parity.agreement
        1.0
    """
    net = arguments.layer(net)
    record = arguments.record_of(net, record, "export")
    directory = arguments.folder(directory, "export")
    each, prepared = arguments.agreement_of(agreement), arguments.transforms_of(preprocess)
    samples = arguments.compared_on(check, image_shape)
    chosen = arguments.formats(formats)
    if not overwrite:
        replacing.check_all_replaceable(directory, chosen, "", "name another folder, or say overwrite=True")
    wanted, needing = several.needed(chosen, record)
    if needing and calibration is None and check is None:
        raise UserError(f"{needing[0]}: rounds tensors whose range training does not learn; give calibration images")
    ranges = samples
    if calibration is not None:
        ranges = Samples(arguments.images_of(calibration, "calibration"), None, "given images")
    reference = verify.reference(net, samples.images, samples.labels, source=samples.source, synthetic=check is None)
    classes = reference.logits.shape[1]
    arguments.check_labels(samples.labels, classes)
    plain = convert(copied(net)) if quant_layers(net) else net  # learned ranges are no parameters of what is deployed
    counted = cost.count(plain, [[1, *samples.images.shape[1:]]])
    description = artifact.Description(
        image_shape=tuple(samples.images.shape[1:]),
        preprocess=prepared,
        class_names=arguments.class_names_of(class_names, classes),
        model_name=type(net).__name__,
        params=counted.params,
        flops=counted.flops,
        network=fingerprint(net),
    )
    plan = several.Plan(wanted, samples, ranges if needing else None, needing)
    return several.export_formats(net, record, directory, plan, description, reference, agreement=each)


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
    given = {"threads": threads, "batch": batch, "rounds": rounds}
    counts = {name: arguments.count(number, name) for name, number in given.items()}
    models = timing.entries({name: str(folder) for name, folder in artifacts.items()})
    return [asdict(row) for row in timing.measure(models, **counts)]


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
    net, most = arguments.layer(net), arguments.count(calibration_batches, "calibration_batches")
    given = arguments.replayed(batches, most)
    taken = 1 if example is None else len(specs(example))
    looked_at = list(itertools.islice(arguments.inputs_of(given(), taken), most))
    if not looked_at:
        raise UserError("analyze: there are no batches to look at")
    if slim is not None:
        if arguments.options(slim).quant is None:
            raise ConfigError("Slim: quant: how is a float network to be quantized? Name it, such as {name: ptq}")
        shape = [looked_at[0]] if example is None else example
        net = compress(copy.deepcopy(net), slim, example=shape, batches=given, calibration_batches=len(looked_at))[0]
    return list(analysis.analyze(net, looked_at))


def _needed(options: SlimOptions, calibration_batches: int) -> int:
    """How many batches are read at most."""
    return max(calibration_batches, options.prune.bn_recalibration if options.prune else 0)


def _milliseconds(net: paddle.nn.Layer, inputs: Sequence[Any]) -> float:
    """What one image takes in Paddle Inference, one thread."""
    shape = [int(size) for size in inputs[0].shape]
    if len(inputs) != 1 or len(shape) != 4:
        raise UserError("target_latency_ms: is measured on networks that take images alone, [1, C, H, W]")
    return configured.milliseconds(net, shape[1:])
