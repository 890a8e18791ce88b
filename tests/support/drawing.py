"""Transforms run many times over, and numbers of draws that are as likely as they should be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ppcls_compress.data.transforms import parse_transforms
from ppcls_compress.data.transforms.pipeline import build_pipeline

DRAWS = 1000
NEEDED = {
    "CropImage": {"size": 8},
    "RandCropImage": {"size": 8},
    "ResizeImage": {"size": 8},
    "RandCropImageV2": {"size": 8},
}
NEEDED |= {
    "RandomCropImage": {"size": 8},
    "Pad": {"padding": 3},
    "NormalizeImage": {"mean": 0.5, "std": 0.5, "order": ""},
    "Normalize": {"data_format": "HWC"},
    "Pad_paddle_vision": {"padding": 2},
    "Padv2": {"size": 40},
    "RandomRotation": {"degrees": 30, "prob": 1},
    "CropImageAtRatio": {"size": 8, "pad": 2},
    "RandomInterpolationAugment": {"prob": 1},
}
NEEDED |= {name: {"size": 8} for name in ("CenterCrop", "RandomCrop", "Resize", "RandomResizedCrop")}
"""Options that a transform cannot do without, or without which it might do nothing, for images of 20 x 30 pixels."""


def results(*ops: object, image: np.ndarray, draws: int = DRAWS, decode: Mapping | None = None) -> Iterator[np.ndarray]:
    """What becomes of an image, uint8 [H, W, 3] red first, in each of so many draws: float32 [H', W', C]."""
    pipeline = build_pipeline(parse_transforms([{"DecodeImage": decode}, *ops]))
    blue_first = np.ascontiguousarray(image[:, :, ::-1])
    for seed in range(draws):
        yield pipeline(blue_first, np.random.default_rng(seed)).transpose(1, 2, 0)


def result(*ops: object, image: np.ndarray, seed: int = 0, decode: Mapping | None = None) -> np.ndarray:
    """The same for one draw."""
    pipeline = build_pipeline(parse_transforms([{"DecodeImage": decode}, *ops]))
    return pipeline(np.ascontiguousarray(image[:, :, ::-1]), np.random.default_rng(seed)).transpose(1, 2, 0)


def assert_share(found: float, expected: float, draws: int = DRAWS) -> None:
    """A share of draws is the probability, within five standard deviations."""
    assert abs(found - expected) <= 5 * np.sqrt(max(expected * (1 - expected), 1e-9) / draws), (found, expected)


def assert_uniform(found: list[float] | np.ndarray, low: float, high: float) -> None:
    """Values lie between the ends, come near to both, and have the mean and the deviation of a uniform distribution."""
    found = np.asarray(found, float)
    width, count = high - low, len(found)
    assert low - 1e-9 <= found.min() <= low + 20 * width / count
    assert high - 20 * width / count <= found.max() <= high + 1e-9
    assert abs(found.mean() - (low + high) / 2) <= 5 * width / np.sqrt(12 * count)
    assert abs(found.std() - width / np.sqrt(12)) <= 5 * width / np.sqrt(12 * count)


def coordinates(rows: int, columns: int) -> np.ndarray:
    """uint8 [H, W, 3] whose red is the row and whose green is the column, so that pixels tell where they come from."""
    down, across = np.mgrid[:rows, :columns]
    return np.stack([down, across, np.zeros_like(down)], axis=2).astype(np.uint8)
