"""scikit-learn's two sample photographs."""

from __future__ import annotations

import functools

import cv2
import numpy as np
from sklearn.datasets import load_sample_images


@functools.cache
def photograph(number: int) -> np.ndarray:
    """uint8 [427, 640, 3], red first, 0 or 1; not to be written to."""
    image = load_sample_images().images[number]
    image.setflags(write=False)
    return image


def jpeg(image: np.ndarray, width: int, height: int, quality: int = 95) -> bytes:
    """An image, red first, resized and encoded."""
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", small[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
