"""`init`: a configuration for images of the user's own, out of those that the package brings along."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from statistics import median

from ppcls_compress import io
from ppcls_compress.commands.common import load_checked
from ppcls_compress.data import folder
from ppcls_compress.data.images.files import read_image
from ppcls_compress.data.images.header import BadImageError, open_image
from ppcls_compress.data.labels import lines_of, read_class_names
from ppcls_compress.download import cache_path
from ppcls_compress.errors import ConfigError, UserError
from ppcls_compress.models import catalog

_LISTS = ("train_list.txt", "val_list.txt")
_THUMBNAIL = 64
"""Pixels of the shorter side: smaller images have nothing to show to a network for photos."""
_LOOKED_AT = 200


@dataclass(frozen=True)
class _Images:
    """Whose configuration it is: the images, their lists, and what `init` has to know of them."""

    root: Path
    lists: Path
    class_num: int
    named: bool
    train: int
    val: int
    side: float


@dataclass(frozen=True)
class _Plan:
    """What is written: the file that the package brings, the network, and where published weights are, if wanted."""

    images: _Images
    out: Path
    starter: str
    arch: str
    url: str | None


_ARCHS = {"photos": "MobileNetV3_small_x1_0", "thumbnails": "CIFARResNet20"}
"""By file of `config/starters`, which has that network's image size."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `init`."""
    parser.add_argument(
        "--images",
        required=True,
        metavar="ROOT",
        help="a folder with a folder of images for each class, or with train_list.txt and val_list.txt",
    )
    parser.add_argument(
        "--out", metavar="DIR", help="where the configuration goes (default: ROOT's name and _compress)"
    )
    parser.add_argument(
        "--arch", metavar="NAME", help="a network for 224 x 224 pixels (default: MobileNetV3_small_x1_0)"
    )
    parser.add_argument("--scratch", action="store_true", help="train from random weights, not from published ones")
    parser.add_argument(
        "--val",
        type=float,
        metavar="X",
        help="share of each class for validation, where there are no lists (default: 0.2)",
    )


def run(args: argparse.Namespace) -> None:
    """Write `train.yaml`, `prune.yaml` and `quantize.yaml` with lists of the images, and say how to go on.

    Raises:
        UserError: there are no such images, no such network, or the configuration is there already.
    """
    if args.arch is not None:
        catalog.get(args.arch, where="--arch")
    root = Path(args.images)
    out = Path(args.out or f"{root.resolve().name}_compress").resolve()
    there = [name for name in _VARIANTS if (out / name).exists()]
    if there:
        raise ConfigError(f"--out: {out / there[0]} is there already; give another folder, or remove it")
    listed = all((root / name).is_file() for name in _LISTS)
    if listed and args.val is not None:
        raise ConfigError(f"--val: {root} has lists, which say already what is for validation; leave it out")
    images = _listed(root) if listed else _sorted_out(root, out, folder.SHARE if args.val is None else args.val)
    starter = "thumbnails" if images.side < _THUMBNAIL and args.arch is None else "photos"
    arch = args.arch or _ARCHS[starter]
    plan = _Plan(images, out, f"{starter}.yaml", arch, None if args.scratch else catalog.get(arch).url)
    text = (files("ppcls_compress.config") / "starters" / plan.starter).read_text(encoding="utf-8")
    texts = {plan.starter: text, **{name: make(plan) for name, make in _VARIANTS.items()}}
    with io.atomic_files([out / name for name in texts]) as partials:
        for partial, content in zip(partials, texts.values(), strict=True):
            partial.write_text(content, encoding="utf-8")
    try:
        for name in _VARIANTS:
            load_checked(str(out / name), [])
    except UserError:  # labels that no network has, say
        for name in texts:
            (out / name).unlink()
        raise
    _tell(plan)


def _sorted_out(root: Path, out: Path, share: float) -> _Images:
    found = folder.write_lists(root, out / "lists", share=share)
    folder.tell(found, out / "lists")
    side = median(min(image.size) for image in found.train[:_LOOKED_AT])
    return _Images(root.resolve(), out / "lists", len(found.classes), True, len(found.train), len(found.val), side)


def _listed(lists: Path) -> _Images:
    """The images that lists in a folder name: those that `data.folder` wrote, or any of PaddleClas' form."""
    lists = lists.resolve()
    root = folder.root_of(lists) or lists
    train, val = ([text.rsplit(None, 1) for _, text in lines_of(lists / name)] for name in _LISTS)
    wrong = next((pair for pair in train + val if len(pair) != 2 or not pair[1].isdecimal()), None)
    if wrong is not None or not train:
        found = f"found {' '.join(wrong)[:80]!r}" if wrong else "found none"
        raise UserError(f"{lists / _LISTS[0]}: expected lines `relative/path label`, labels from 0; {found}")
    class_num = 1 + max(int(label) for _, label in train + val)
    named = (lists / "label_list.txt").is_file()
    if named:
        names = [text for _, text in lines_of(lists / "label_list.txt")]
        class_num = max(class_num, len(names))
        read_class_names(lists / "label_list.txt", class_num)
    sides = [side for path, _ in train[:_LOOKED_AT] if (side := _side(root / path)) is not None]
    if not sides:
        raise UserError(
            f"{lists / _LISTS[0]}: none of its images can be read below {root}, for one {root / train[0][0]}"
        )
    return _Images(root, lists, class_num, named, len(train), len(val), median(sides))


def _side(path: Path) -> int | None:
    try:
        return min(open_image(read_image(path)).size)
    except BadImageError:
        return None


def _train(plan: _Plan) -> str:
    images, out = plan.images, plan.out
    names = _text(images.lists / "label_list.txt") if images.named else "null"
    return f"""# {images.class_num} classes, {images.train} images to train on and {images.val} to validate on.
_BASE_: {plan.starter}

Global:
  output_dir: {_text(out / "output/train")}
  save_inference_dir: {_text(out / "output/train/inference")}
{_EPOCHS if plan.url is None else ""}
Arch:
  name: {plan.arch}
  class_num: {images.class_num}
{_weights(plan)}
DataLoader:
  Train:
    dataset: {{image_root: {_text(images.root)}, cls_label_path: {_text(images.lists / _LISTS[0])}}}
  Eval:
    dataset: {{image_root: {_text(images.root)}, cls_label_path: {_text(images.lists / _LISTS[1])}}}

Infer:
  infer_imgs: {_text(images.root)}
  PostProcess: {{name: Topk, topk: 1, class_id_map_file: {names}}}
"""


def _weights(plan: _Plan) -> str:
    if plan.url is None:
        return _SCRATCH
    return f"""  # Published weights, learned from ImageNet. They are downloaded when training starts, from
  # {plan.url}
  # to {cache_path(plan.url)}.
  # Without a network, put the file there, or write its path here. False trains from random weights.
  pretrained: True
"""


_SCRATCH = """  pretrained: False

# Random weights learn in larger steps than published ones, and longer.
Optimizer:
  lr: {learning_rate: 0.05, warmup_epoch: 5}
"""


_EPOCHS = "  epochs: 60\n"
"""Of a network with random weights; where the evaluation still rises at the end, more help."""


def _prune(plan: _Plan) -> str:
    return _variant(plan, "prune", "prune: {name: fpgm, pruned_ratio: 0.3}", epochs=10, rate=0.01)


def _quantize(plan: _Plan) -> str:
    return _variant(plan, "quantize", "quant: {name: pact, grid: alpha}", epochs=5, rate=0.002)


def _variant(plan: _Plan, name: str, section: str, *, epochs: int, rate: float) -> str:
    out = plan.out
    return f"""# Starts from what train.yaml trained; to do both, name the best_model of prune.yaml in quantize.yaml.
_BASE_: train.yaml

Global:
  pretrained_model: {_text(out / f"output/train/{plan.arch}/best_model")}
  output_dir: {_text(out / f"output/{name}")}
  save_inference_dir: {_text(out / f"output/{name}/inference")}
  epochs: {epochs}

Slim:
  {section}

Optimizer:
  lr: {{learning_rate: {rate}, warmup_epoch: 0}}
"""


_VARIANTS = {"train.yaml": _train, "prune.yaml": _prune, "quantize.yaml": _quantize}


def _text(value: object) -> str:
    """A text as YAML reads it, whatever is in it."""
    return json.dumps(str(value), ensure_ascii=False)


def _tell(plan: _Plan) -> None:
    images, out = plan.images, plan.out
    weights = "random weights" if plan.url is None else "published weights, downloaded when training starts"
    where = out.relative_to(Path.cwd()) if out.is_relative_to(Path.cwd()) else out
    sys.stdout.write(
        f"{images.class_num} classes, {images.train} images for training, {images.val} for validation\n"
        f"{plan.arch}, from {weights}\n"
        f"written: {', '.join(f'{where / name}' for name in _VARIANTS)}\n"
        f"next: ppcls-compress train -c {shlex.quote(str(where / 'train.yaml'))}\n"
    )
