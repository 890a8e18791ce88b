"""What an image becomes before a model of unknown origin reads it, and which images it is quantized on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydantic

from ppcls_compress import data
from ppcls_compress.config.load import explain, read_yaml
from ppcls_compress.config.schema import Config
from ppcls_compress.data.transforms import Transform, parse_transforms
from ppcls_compress.data.transforms.lists import images_at
from ppcls_compress.data.transforms.values import ToCHWImage
from ppcls_compress.deploy.artifact import parse_postprocess
from ppcls_compress.engine.infer import read_prepared
from ppcls_compress.engine.progress import track
from ppcls_compress.errors import ConfigError, UserError
from ppcls_compress.postprocess import PostProcess

BATCH = 8


@dataclass(frozen=True)
class Preparation:
    """What a description says.

    Attributes:
        ops: from an encoded image to the model's input.
        class_names: by class index; None when they are not known.
        post_process: what an answer tells; None when it is not said.
        model_name: None when it is not known.
    """

    ops: tuple[Transform, ...]
    class_names: tuple[str, ...] | None = None
    post_process: PostProcess | None = None
    model_name: str | None = None


def from_description(path: str | Path) -> Preparation:
    """What an `inference.yml` says, as PaddleClas, PaddleX and this package write it.

    Raises:
        UserError: it holds no `PreProcess.transform_ops`, or some that there are not.
    """
    content = read_yaml(path)
    section = content.get("PreProcess")
    ops = section.get("transform_ops") if isinstance(section, dict) else None
    if not isinstance(ops, list) or not ops:
        raise UserError(f"{path}: has no PreProcess.transform_ops, which says how an image is prepared")
    parsed = parsed_ops(ops, path, "PreProcess.transform_ops")
    answer, named = content.get("PostProcess"), content.get("Global")
    post_process, names = None, None
    if isinstance(answer, dict) and len(answer) == 1 and isinstance(next(iter(answer.values())), dict):
        try:
            post_process, names = parse_postprocess(answer)
        except (pydantic.ValidationError, ValueError, TypeError) as error:
            raise UserError(f"{path}: PostProcess: {str(error).splitlines()[0]}") from error
    name = named.get("model_name") if isinstance(named, dict) else None
    return Preparation(parsed, names, post_process, None if name is None else str(name))


def parsed_ops(ops: list[Any], path: str | Path, key: str) -> tuple[Transform, ...]:
    """Transforms as a file lists them under `key`; that an image is decoded first need not be said.

    Raises:
        UserError: there are no such transforms, or not in this order.
    """
    if ops and isinstance(ops[0], dict) and "DecodeImage" not in ops[0]:
        ops = [{"DecodeImage": None}, *ops]
    try:
        return parse_transforms(ops)
    except pydantic.ValidationError as error:
        (reason, *_) = explain(error, {}, key)
        raise UserError(f"{path}: {reason}") from error


def ending_in_channels(ops: tuple[Transform, ...]) -> tuple[Transform, ...]:
    """Transforms of a data set, whose loader puts channels first without being told, as inference lists them."""
    *_, end = images_at(ops)
    return ops if end.layout == "chw" else (*ops, ToCHWImage())


def from_config(config: Config) -> Preparation:
    """What a configuration says for inference, or else for evaluation.

    Raises:
        ConfigError: it says neither.
    """
    if config.Infer is not None and config.Infer.transforms:
        return Preparation(config.Infer.transforms, None, config.post_process)
    if config.DataLoader.Eval is not None:
        return Preparation(ending_in_channels(config.DataLoader.Eval.dataset.transform_ops))
    raise ConfigError("Infer.transforms: needed, for it says how an image is prepared; DataLoader.Eval would do too")


def drawn(paths: Sequence[Path], count: int) -> list[Path]:
    """`count` of some files, or all, from all over the list and always the same."""
    order = np.random.default_rng(0).permutation(len(paths))[:count]
    return [paths[index] for index in order]


def batches_of(
    paths: Sequence[Path], preparation: Preparation, what: str, *, shape: Sequence[int] | None = None
) -> Iterator[np.ndarray]:
    """Prepared images, float32 [8, C, H, W], the last batch smaller; with progress shown.

    Args:
        what: for the bar.
        shape: (C, H, W) that they must have; None takes what comes first.

    Raises:
        BadImageError: a file is no readable image, or comes out in another shape; names it.
    """
    pipeline = data.build_pipeline(preparation.ops)
    batch: list[np.ndarray] = []
    for path in track(paths, what):
        batch.append(read_prepared(path, pipeline, image_shape=shape))
        shape = batch[0].shape
        if len(batch) == BATCH:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)
