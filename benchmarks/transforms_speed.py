"""Images per second and core through the training transforms, ours beside PaddleClas' own.

    python benchmarks/transforms_speed.py --paddleclas CHECKOUT [--rounds 150] [--batch 32] [--json FILE]

CHECKOUT is a folder with `ppcls/data/preprocess` in it. Both sides get the same encoded images, 500 x 375 JPEGs made of
scikit-learn's two sample photographs, and the same list of transforms, as a YAML would have it; both end with a batch
float32 [N, 3, H, W] and its targets. They take turns, batch by batch, in one process with one thread, and processor
time is counted, so that what else the machine does hits both alike; it only ever adds, so the lower quartiles over all
rounds are compared. The file holds the quartiles of the ratio in single rounds besides.

Recipes: `imagenet` is what most of PaddleClas' 2021-2024 ImageNet files have (Swin, PP-LCNetV2, PP-HGNet and others),
`pulc` that of the practical ultra-lightweight classifiers.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
from common import machine
from PIL import ImageOps
from sklearn.datasets import load_sample_images

from ppcls_compress.data.samplers import batch_rng, sample_rng
from ppcls_compress.data.transforms import BATCH_TRANSFORMS, parse_transforms
from ppcls_compress.data.transforms.batch import BatchPipeline
from ppcls_compress.data.transforms.pipeline import build_pipeline

CLASSES = 1000
_DECODE = {"DecodeImage": {"to_rgb": True, "channel_first": False}}
_NORMALIZE = {
    "NormalizeImage": {
        "scale": "1.0/255.0",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "order": "",
    }
}
_TIMM = {"config_str": "rand-m9-mstd0.5-inc1", "interpolation": "bicubic", "img_size": 224}
_ERASE = {"sl": 0.02, "sh": "1.0/3.0", "r1": 0.3, "attempt": 10, "use_log_aspect": True, "mode": "pixel"}
RECIPES: dict[str, tuple[list[dict], list[dict]]] = {
    "imagenet": (
        [
            _DECODE,
            {"RandCropImage": {"size": 224, "interpolation": "bicubic", "backend": "pil"}},
            {"RandFlipImage": {"flip_code": 1}},
            {"TimmAutoAugment": _TIMM},
            _NORMALIZE,
            {"RandomErasing": {"EPSILON": 0.25, **_ERASE}},
        ],
        [{"OpSampler": {"MixupOperator": {"alpha": 0.8, "prob": 0.5}, "CutmixOperator": {"alpha": 1.0, "prob": 0.5}}}],
    ),
    "pulc": (
        [
            _DECODE,
            {"RandCropImage": {"size": 224}},
            {"RandFlipImage": {"flip_code": 1}},
            {"TimmAutoAugment": {"prob": 0.5, **_TIMM}},
            _NORMALIZE,
            {"RandomErasing": {"EPSILON": 0.5, **_ERASE}},
        ],
        [],
    ),
}
Maker = Callable[[list[bytes], np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""(encoded images, labels, number of the batch) -> (images float32 [N, 3, H, W], targets)."""


def encoded(count: int) -> list[bytes]:
    """The two photographs in turn, 500 x 375, each from another part of them."""
    rng, photographs = np.random.default_rng(0), load_sample_images().images
    found = []
    for number in range(count):
        left = int(rng.integers(640 - 569))
        part = photographs[number % 2][:, left : left + 569]
        small = cv2.resize(part, (500, 375), interpolation=cv2.INTER_AREA)[:, :, ::-1]
        found.append(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
    return found


def ours(ops: list[dict], batch_ops: list[dict]) -> Maker:
    """Batches as the loader makes them."""
    pipeline = build_pipeline(parse_transforms(ops))
    mix = BatchPipeline(
        [BATCH_TRANSFORMS.get(name).model_validate(options) for op in batch_ops for name, options in op.items()],
        CLASSES,
    )

    def make(images: list[bytes], labels: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
        stack = np.empty((len(images), 3, 224, 224), np.float32)
        for index, image in enumerate(images):
            pipeline.labelled(image, sample_rng(0, number, index), out=stack[index])
        return mix(stack, labels, batch_rng(0, 0, number, 0))

    return make


def theirs(preprocess: ModuleType, ops: list[dict], batch_ops: list[dict]) -> Maker:
    """Batches as PaddleClas' data set and its collating function make them."""
    steps = [_step(preprocess, name, options) for op in ops for name, options in op.items()]
    mixers = [_mixer(preprocess, name, options) for op in batch_ops for name, options in op.items()]

    def make(images: list[bytes], labels: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
        batch = []
        for image, label in zip(images, labels, strict=True):
            for step in steps:
                image = step(image)
            batch.append((image.transpose((2, 0, 1)), label))
        for mixer in mixers:
            batch = mixer(batch)
        return tuple(np.stack(column) for column in zip(*batch, strict=True))

    return make


def _step(preprocess: ModuleType, name: str, options: dict) -> Callable:
    """Checkouts of before `TimmAutoAugment.prob` get what it does."""
    try:
        return getattr(preprocess, name)(**options)
    except TypeError:
        step = getattr(preprocess, name)(**{key: value for key, value in options.items() if key != "prob"})
    return lambda image: step(image) if np.random.random() < options["prob"] else image


def _mixer(preprocess: ModuleType, name: str, options: dict) -> Callable:
    """It notes the number of classes in its options, so it gets some of its own."""
    return getattr(preprocess, name)(class_num=CLASSES, **copy.deepcopy(options))


def peer(checkout: Path) -> ModuleType:
    """PaddleClas' transforms, imported without the rest of it, which asks for more packages."""
    root = checkout / "ppcls"
    if not (root / "data" / "preprocess").is_dir():
        sys.exit(f"{checkout}: there is no ppcls/data/preprocess in it")
    for name, folder in (("ppcls", root), ("ppcls.data", root / "data")):
        package = ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    utils = ModuleType("ppcls.utils")
    utils.logger = SimpleNamespace(warning=sys.stderr.write, error=sys.stderr.write, info=sys.stderr.write)
    sys.modules["ppcls.utils"] = utils
    from ppcls.data import preprocess

    original = ImageOps.posterize
    # Pillow 12 and later refuse to keep no bits, which PaddleClas asks for at the largest magnitude.
    ImageOps.posterize = lambda image, bits: original(image, bits) if bits else image.point([0] * 768)
    return preprocess


def compare(recipe: str, preprocess: ModuleType, rounds: int, batch: int) -> dict[str, object]:
    """Images per second and core of both sides, and their ratio."""
    ops, batch_ops = RECIPES[recipe]
    images, labels = encoded(batch), np.arange(batch) % CLASSES
    makers = {"ours": ours(ops, batch_ops), "theirs": theirs(preprocess, ops, batch_ops)}
    seconds: dict[str, list[float]] = {name: [] for name in makers}
    for number in range(-1, rounds):  # the first warms up
        for name, make in makers.items():
            start = time.process_time()
            made, targets = make(images, labels, number + 1)
            spent = time.process_time() - start
            if made.shape != (batch, 3, 224, 224) or made.dtype != np.float32 or len(targets) != batch:
                raise SystemExit(f"{name}: made {made.dtype} {made.shape}")
            if number >= 0:
                seconds[name].append(spent)
    single = [theirs / ours for ours, theirs in zip(seconds["ours"], seconds["theirs"], strict=True)]
    quick = {name: statistics.quantiles(values, n=4)[0] for name, values in seconds.items()}
    return {
        "recipe": recipe,
        **{name: round(batch / time_of_batch, 1) for name, time_of_batch in quick.items()},
        "ratio": round(quick["theirs"] / quick["ours"], 3),
        "of single rounds": [round(value, 3) for value in statistics.quantiles(single, n=4)],
        "rounds": rounds,
        "batch": batch,
    }


def main() -> None:
    """Measure every recipe and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--paddleclas", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    cv2.setNumThreads(0)
    preprocess = peer(args.paddleclas)
    found = [compare(recipe, preprocess, args.rounds, args.batch) for recipe in RECIPES]
    for row in found:
        print(f"{row['recipe']}: {row['ours']} images/s, PaddleClas {row['theirs']}; {row['ratio']} times")
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), "results": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
