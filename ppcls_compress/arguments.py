"""What the functions of `api` are given, read and checked before anything is computed: mistakes are one line."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from pydantic import TypeAdapter, ValidationError

from ppcls_compress.config.load import explain
from ppcls_compress.config.schema import SlimSection
from ppcls_compress.config.sections import Agreement
from ppcls_compress.data.transforms import Transform
from ppcls_compress.data.transforms.lists import parse_transforms
from ppcls_compress.deploy.formats import chosen
from ppcls_compress.deploy.kinds import Format
from ppcls_compress.engine.samples import Samples
from ppcls_compress.errors import ConfigError, UserError, one_line, shortened
from ppcls_compress.slim import recipe
from ppcls_compress.slim import record as compression
from ppcls_compress.slim.options import SlimOptions
from ppcls_compress.slim.quant import quant_layers
from ppcls_compress.slim.quant.foreign import foreign_layers

Batches = Iterable[Any] | Callable[[], Iterable[Any]]
"""Batches of what a network takes, tensors or arrays, labels behind them or not: a `paddle.io.DataLoader`, a list, a
generator, or a function that gives one. An array [N, C, H, W] stands for the batches that it makes."""

_BATCH = 32
_RANDOM = 64
_AGREEMENT: TypeAdapter[dict[str, float]] = TypeAdapter(Agreement)


def layer(net: paddle.nn.Layer | paddle.Model) -> paddle.nn.Layer:
    """The network that is meant."""
    found = net.network if isinstance(net, paddle.Model) else net
    if not isinstance(found, paddle.nn.Layer):
        raise UserError(f"expected a paddle.nn.Layer, found {type(net).__name__}")
    return found


def options(slim: Mapping[str, Any] | SlimOptions) -> SlimOptions:
    """The `Slim` section, as far as a library carries it out."""
    if isinstance(slim, SlimOptions):
        return slim
    if not isinstance(slim, Mapping) or not slim:
        raise ConfigError(f'Slim: expected steps such as {{"prune": {{...}}, "quant": {{...}}}}, found {_shown(slim)}')
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


def path(given: str | Path, where: str) -> Path:
    """A path that ends in a name."""
    if not isinstance(given, str | os.PathLike) or not Path(given).name:
        raise UserError(f"{where}: expected a path such as 'output/small', found {_shown(given)}")
    return Path(given)


def folder(given: str | Path, where: str) -> Path:
    """A folder to write into: a path that ends in a name, or the folder that the process is in."""
    if isinstance(given, str | os.PathLike) and str(given) and Path(given) == Path():
        return Path(given)
    return path(given, where)


def record_of(net: paddle.nn.Layer, record: recipe.Record | None, where: str) -> recipe.Record:
    """The record of what was done to `net`; of a network that nothing was done to, none need be given.

    Raises:
        UserError: it is no record, or that of another network; the message names the first parameter or layer.
    """
    found = recipe.empty_record() if record is None else record
    if not isinstance(found, Mapping):
        raise UserError(f"{where}: give the record that compress or load returned, found {_shown(found)}")
    found = compression.check(dict(found), f"{where}: record")
    quantized, told = bool(quant_layers(net) or foreign_layers(net)), recipe.step_of(found, "quant") is not None
    if quantized and not told:
        raise UserError(
            f"{where}: the network is quantized; give the record that compress or load returned, record=..."
        )
    if told and not quantized:
        raise UserError(
            f"{where}: the record tells of a quantization, which the network lacks; give that of this network"
        )
    try:
        recipe.check_fits(net, found)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return found


def replayed(batches: Batches, count: int) -> Callable[[], Iterable[Any]]:
    """A function that gives the batches each time; what can be read only once is kept, as much as is needed."""
    if isinstance(batches, np.ndarray | paddle.Tensor):
        return lambda: (batches[start : start + _BATCH] for start in range(0, len(batches), _BATCH))
    if callable(batches):
        return batches
    several = isinstance(batches, Iterable) or hasattr(batches, "__getitem__")
    if not several or isinstance(batches, str | bytes | Mapping):
        raise UserError(
            "batches: expected a paddle.io.DataLoader, a list or generator of batches, or an array of images, found "
            f"{_shown(batches)}"
        )
    if isinstance(batches, Iterator):
        kept = list(itertools.islice(batches, count))
        return lambda: kept
    return lambda: batches


def inputs_of(batches: Iterable[Any], arguments: int) -> Iterator[Any]:
    """What a network takes of each batch: of a list, as many entries as it has arguments."""
    for batch in batches:
        if not isinstance(batch, list | tuple):
            yield _tensor(batch)
        elif arguments == 1:
            yield _tensor(batch[0])
        else:
            yield [_tensor(item) for item in batch[:arguments]]


def count(given: int, where: str) -> int:
    """A whole number of at least 1."""
    if not isinstance(given, int | np.integer) or isinstance(given, bool) or given < 1:
        raise UserError(f"{where}: expected a whole number of at least 1, found {_shown(given)}")
    return int(given)


def compared_on(check: Any, image_shape: Sequence[int] | None) -> Samples:
    """Images, with labels or without, that an export is compared on; random ones where there are none.

    Two of something are images and labels, unless the first is a single image [C, H, W]: then both are.
    """
    if check is None:
        shape = _shape(image_shape)
        drawn = np.random.default_rng(0).standard_normal((_RANDOM, *shape), np.float32)
        return Samples(drawn, None, "random images")
    pair = isinstance(check, list | tuple) and len(check) == 2 and getattr(check[0], "ndim", None) != 3
    images, labels = check if pair else (check, None)
    found = images_of(images, "check")
    if labels is not None:
        labels = _array(labels, np.int64, "check: labels").reshape(-1)
        if len(labels) != len(found):
            raise UserError(f"export: check: {len(labels)} labels for {len(found)} images")
    return Samples(found, labels, "given images")


def images_of(given: Any, where: str) -> np.ndarray:
    """Prepared images, float32 [N, C, H, W]."""
    images = _array(given, np.float32, where)
    if images.ndim != 4 or not len(images):
        raise UserError(f"export: {where}: expected images [N, C, H, W], found {list(images.shape)}")
    broken = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))
    if broken.size:
        raise UserError(f"export: {where}: image {broken[0] + 1} holds a value that is not finite")
    return images


def formats(names: str | Sequence[str]) -> list[Format]:
    """The formats that are meant, whose tools are installed."""
    named = [names] if isinstance(names, str) else _listed(names)
    if not named:
        raise UserError(f'formats: expected names such as ["paddle", "onnx-ort"], found {_shown(names)}')
    found = chosen(named, where="formats")
    for kind in found:
        kind.require()
    return found


def agreement_of(given: float | Mapping[str, float] | None) -> dict[str, float]:
    """The shares of equal classes that are enough, by format."""
    data = dict(given) if isinstance(given, Mapping) else given
    try:
        return _AGREEMENT.validate_python(data)
    except ValidationError as error:
        lines = explain(error, data if isinstance(data, dict) else {}, "agreement")
        raise UserError(one_line(lines[0])) from None


def transforms_of(ops: Sequence[Mapping[str, Any]]) -> tuple[Transform, ...]:
    """`Infer.transforms` of the YAML."""
    try:
        return parse_transforms(ops) if ops else ()
    except ValidationError as error:
        raise UserError(one_line(explain(error, {}, "preprocess")[0])) from None


def class_names_of(names: Sequence[str] | None, classes: int) -> tuple[str, ...] | None:
    """A name for each class."""
    if names is None:
        return None
    found = _listed(names)
    if found is None:
        raise UserError(f"class_names: expected a list of names, found {_shown(names)}")
    if len(found) != classes:
        raise UserError(f"class_names: {len(found)} names for the {classes} classes of the network")
    return tuple(str(name) for name in found)


def check_labels(labels: np.ndarray | None, classes: int) -> None:
    """Refuse labels that are no class of the network; -1 is none either."""
    wrong = np.flatnonzero((labels < 0) | (labels >= classes)) if labels is not None else np.array([])
    if wrong.size:
        raise UserError(
            f"export: check: image {wrong[0] + 1} has label {labels[wrong[0]]}; classes are 0 to {classes - 1}"
        )


def _tensor(item: Any) -> Any:
    if not isinstance(item, np.ndarray):
        return item
    return paddle.to_tensor(item.astype(paddle.get_default_dtype()) if item.dtype == np.float64 else item)


def _array(given: Any, kind: type, where: str) -> np.ndarray:
    try:
        return np.asarray(given.numpy() if isinstance(given, paddle.Tensor) else given, kind)
    except (TypeError, ValueError):
        raise UserError(f"export: {where}: expected an array of numbers, found {_shown(given)}") from None


def _shape(given: Sequence[int] | None) -> tuple[int, ...]:
    if given is None:
        raise UserError("export: give images to compare on, check=..., or at least image_shape=(3, 224, 224)")
    sizes = _listed(given) or []
    whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) and n > 0 for n in sizes)
    if len(sizes) != 3 or not whole:
        raise UserError(f"export: image_shape: expected (channels, height, width), found {_shown(given)}")
    return tuple(int(n) for n in sizes)


def _listed(given: Any) -> list[Any] | None:
    """The entries of a list, an array, or whatever gives some in an order; None of a text or a dictionary."""
    single = not isinstance(given, Iterable) or getattr(given, "ndim", 1) == 0
    if single or isinstance(given, str | bytes | Mapping):
        return None
    return list(given)


def _shown(value: object) -> str:
    """Networks and arrays write themselves on several lines."""
    return one_line(shortened(value))
