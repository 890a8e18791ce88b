"""Every draw comes from the generator that is passed in."""

import random

import numpy as np
import pytest
from support.drawing import NEEDED

from ppcls_compress.data.transforms import BATCH_TRANSFORMS, TRANSFORMS, parse_transforms
from ppcls_compress.data.transforms.pipeline import build_pipeline

NOISE = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
LIKELY = {
    "RandomErasing": {"EPSILON": 1},
    "Cutout": {"length": 8},
    "ColorJitter": {"brightness": 0.5, "hue": 0.2},
    "RawColorJitter": {"contrast": 0.5},
    "RandomGrayscale": {"p": 0.5},
    "TimmAutoAugment": {"config_str": "rand-m9-n4-mstd0.5"},
    "RandomRotation": {"degrees": 30},
    "RandomInterpolationAugment": {"prob": 0.5},
    "GridMask": {"d1": 4, "d2": 30},
    "RandomCropImage": {"size": 20},
}


def global_state():
    return random.getstate(), [str(part) for part in np.random.get_state()]


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if name != "DecodeImage"])
def test_a_transform_draws_from_the_generator_alone(name):
    entry = {name: {**(NEEDED.get(name) or {}), **LIKELY.get(name, {})}}
    *_, op = ops = parse_transforms(["DecodeImage", entry])
    pipeline = build_pipeline(ops)
    before = global_state()
    first = [pipeline(NOISE, np.random.default_rng(seed)).tobytes() for seed in range(12)]
    assert global_state() == before
    assert [pipeline(NOISE, np.random.default_rng(seed)).tobytes() for seed in range(12)] == first
    assert (len(set(first)) > 1) == op.is_random


BATCHES = {"MixupCutmixHybrid": {"cutmix_alpha": 1.0}, "OpSampler": {"FmixOperator": {"prob": 0.7}}}


@pytest.mark.parametrize("name", list(BATCH_TRANSFORMS))
def test_a_batch_transform_draws_from_the_generator_alone(name):
    step = BATCH_TRANSFORMS.get(name).model_validate(BATCHES.get(name, {})).step()
    images = np.random.default_rng(0).random((4, 3, 9, 8), np.float32)
    targets = np.eye(4, dtype=np.float32)

    def run(seed):
        return b"".join(part.tobytes() for part in step(images.copy(), targets.copy(), np.random.default_rng(seed)))

    before = global_state()
    first = [run(seed) for seed in range(8)]
    assert global_state() == before
    assert [run(seed) for seed in range(8)] == first
    assert len(set(first)) > 1
