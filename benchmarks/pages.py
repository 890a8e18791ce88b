"""Rendered pages of `make_pages.py` for a network to tell how they are turned: prepared once, and trained on.

Prepared are arrays, for calibration and for what is judged, and the training pages as image files of 256 px, so that
training spends its time on training.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import yaml
from calibrations import keep_images

SPLITS = ("plain", "hard")
CLASSES, CALIBRATION = 4, 512
SIDE = 256
TRANSFORMS = [
    {"DecodeImage": {"to_rgb": True, "channel_first": False}},
    {"ResizeImage": {"resize_short": SIDE}},
    {"CropImage": {"size": 224}},
    {
        "NormalizeImage": {
            "scale": "1.0/255.0",
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "order": "",
        }
    },
    {"ToCHWImage": {}},
]


def check(folder: Path) -> None:
    """Stop if a folder is not what `make_pages.py` writes."""
    for name in ("train_list.txt", "val_list.txt"):
        if not (folder / name).is_file():
            raise SystemExit(f"--pages: {folder / name} is not there; make_pages.py writes it")


def prepare(folder: Path, work: Path) -> None:
    """Prepare what is calibrated on, the first plain training pages, and what is judged, once."""
    work.mkdir(parents=True, exist_ok=True)
    wanted = {"calibration": ("train", "plain", CALIBRATION), **{kind: ("val", kind, None) for kind in SPLITS}}
    for name, (split, kind, count) in wanted.items():
        if (work / f"{name}_labels.npy").exists():
            continue
        from ppcls_compress.data.transforms import parse_transforms
        from ppcls_compress.data.transforms.pipeline import Pipeline

        pipeline = Pipeline(parse_transforms(TRANSFORMS))
        rows = [(path, label) for path, label in listed(folder, split) if kind in path][:count]
        found = np.stack([pipeline((folder / path).read_bytes()) for path, _ in rows])
        keep_images(work, name, found, np.array([label for _, label in rows]))


def listed(folder: Path, split: str) -> list[tuple[str, int]]:
    """Paths and labels of a list."""
    rows = [line.split() for line in (folder / f"{split}_list.txt").read_text().splitlines()]
    return [(path, int(label)) for path, label in rows]


def config(folder: Path, work: Path) -> Path:
    """A configuration to train on the training pages, which are cut to their middle, of 256 px."""
    small = work / "train"
    if not (small / "list.txt").exists():
        from PIL import Image, ImageOps

        small.mkdir(exist_ok=True)
        rows = listed(folder, "train")
        for number, (path, _) in enumerate(rows):
            with Image.open(io.BytesIO((folder / path).read_bytes())) as image:
                ImageOps.fit(image.convert("RGB"), (SIDE, SIDE), Image.Resampling.BILINEAR).save(
                    small / f"{number}.bmp"
                )
        (small / "list.txt").write_text("".join(f"{number}.bmp {label}\n" for number, (_, label) in enumerate(rows)))
    path = work / "pages.yaml"
    path.write_text(yaml.safe_dump(_settings(small), sort_keys=False))
    return path


def _settings(small: Path) -> dict:
    return {
        "Global": {"epochs": 1, "eval_during_train": False, "print_batch_step": 10, "image_shape": [3, 224, 224]},
        "Arch": {"name": "PPLCNet_x1_0", "class_num": CLASSES},
        "Loss": {"Train": [{"CELoss": {"weight": 1.0}}]},
        "Optimizer": {
            "name": "Momentum",
            "momentum": 0.9,
            "lr": {"name": "Cosine", "learning_rate": 0.01},
            "regularizer": {"name": "L2", "coeff": 0.00003},
        },
        "DataLoader": {
            "Train": {
                "dataset": {
                    "name": "ImageNetDataset",
                    "image_root": str(small),
                    "cls_label_path": str(small / "list.txt"),
                    "transform_ops": [
                        TRANSFORMS[0],
                        {"RandCropImageV2": {"size": 224}},
                        TRANSFORMS[3],
                    ],
                },
                "sampler": {"name": "DistributedBatchSampler", "batch_size": 32, "shuffle": True, "drop_last": True},
                "loader": {"num_workers": 0},
            }
        },
        "Infer": {"infer_imgs": str(small), "transforms": TRANSFORMS},
        "Metric": {"Train": [{"TopkAcc": {"topk": [1]}}]},
    }
