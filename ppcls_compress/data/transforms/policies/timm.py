"""timm's policies, named by a string such as `rand-m9-mstd0.5-inc1`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import numpy as np
from PIL import Image
from pydantic import AfterValidator, BeforeValidator

from ppcls_compress.data.transforms import pixels
from ppcls_compress.data.transforms.base import TRANSFORMS, Images, PerChannel, Size, Step, lower
from ppcls_compress.data.transforms.policies import timm_tables as tables
from ppcls_compress.data.transforms.policies.base import Policy
from ppcls_compress.data.transforms.policies.timm_changes import Settings, applied
from ppcls_compress.declare import Fraction
from ppcls_compress.errors import unknown

_RESAMPLING = {
    "bilinear": (Image.Resampling.BILINEAR,),
    "bicubic": (Image.Resampling.BICUBIC,),
    "random": (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC),
}
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
Change = Callable[[np.ndarray, Settings, np.random.Generator], np.ndarray]


def _checked(text: str | None) -> str | None:
    if text is not None:
        parse(text)
    return text


@TRANSFORMS.declare
class TimmAutoAugment(Policy):
    """RandAugment, AutoAugment or AugMix in timm's variants.

    Attributes:
        prob: of changing an image at all.
        config_str: the policy and its numbers, joined by dashes. `rand`: two of 15 changes, each made half the time;
            `m` magnitude from 0 to 10 (10), `n` number of changes (2), `mstd` deviation of the magnitude (0), `inc`
            (with any number) the variants that grow with the magnitude, `w0` unequal weights. `original`, `originalr`,
            `v0`, `v0r`: AutoAugment for ImageNet; `mstd`. `augmix`: `m` magnitude (3), `w` chains (3), `d` changes in a
            chain, 1 to 3 at random if left out, `a` of the Beta and Dirichlet distributions (1), `b` blend each chain
            by itself, `mstd`. null changes nothing.
        interpolation: of shears, shifts and turning: bilinear, bicubic, or `random` (also null), one of the two.
        img_size: without effect; shifts are parts of the image's side.
        mean: colour of what comes in from outside, each channel from 0 to 1.
    """

    inert: ClassVar[dict] = {"img_size": ((224, 224), "shifts are parts of the image's side, whatever its size")}

    prob: Fraction = 1.0
    config_str: Annotated[str | None, AfterValidator(_checked)] = "rand-m9-mstd0.5-inc1"
    interpolation: Annotated[
        Literal["bilinear", "bicubic", "random"],
        BeforeValidator(lambda value: "random" if value is None else lower(value)),
    ] = "bicubic"
    img_size: Size = (224, 224)
    mean: PerChannel = _IMAGENET_MEAN

    def step(self, images: Images) -> Step:
        """The transform of one image."""
        if self.config_str is None:
            return lambda image, rng: image
        policy = parse(self.config_str)
        mean = self.mean if len(self.mean) == 3 else self.mean[:1] * 3
        settings = Settings(
            fill=tuple(min(255, round(255 * part)) for part in mean),
            resampling=_RESAMPLING[self.interpolation],
            shift=policy.shift,
            deviation=policy.numbers.get("mstd", 0.0),
        )
        change = policy.change()
        return pixels.of_colour(
            lambda image, rng: change(image, settings, rng) if rng.random() < self.prob else image, images
        )


@dataclass(frozen=True)
class NamedPolicy:
    """What a policy string says.

    Attributes:
        name: of the policy.
        numbers: by key, as far as they are given.
    """

    name: str
    numbers: dict[str, float] = field(default_factory=dict)

    @property
    def shift(self) -> float:
        """The largest, in parts of the side; less for AugMix, whose chains have several."""
        return 0.3 if self.name == "augmix" else 0.45

    def change(self) -> Change:
        """(image uint8 [H, W, 3], settings, generator) -> image."""
        if self.name == "rand":
            return _random(self.numbers)
        return _augmix(self.numbers) if self.name == "augmix" else _published(tables.POLICIES[self.name])


_DEVIATION = {"mstd": (0, 100)}
_KEYS: dict[str, dict[str, tuple[float, float]]] = {
    "rand": {"m": (0, 10), "n": (1, 100), **_DEVIATION, "inc": (0, 100), "w": (0, 0)},
    "augmix": {"m": (0, 10), "w": (1, 100), "d": (0, 100), "a": (1e-3, 1e3), "b": (0, 1), **_DEVIATION},
    **dict.fromkeys(tables.POLICIES, _DEVIATION),
}
"""Policy to key to the smallest and the largest number."""
_FRACTIONAL = ("mstd", "a")


def parse(text: str) -> NamedPolicy:
    """What a policy string says.

    Raises:
        ValueError: the policy or one of its keys is unknown, or a number is missing or out of range.
    """
    name, *sections = text.split("-")
    if name not in _KEYS:
        raise ValueError(unknown("policy", name, _KEYS))
    numbers: dict[str, float] = {}
    for section in sections:
        key, number = re.fullmatch(r"([a-zA-Z_]*)(.*)", section).groups()
        if key not in _KEYS[name]:
            raise ValueError(f"{text!r}: {unknown(f'key of {name}', key, _KEYS[name])}")
        numbers[key] = _number(text, section, key, number, _KEYS[name][key])
    return NamedPolicy(name, numbers)


def _number(text: str, section: str, key: str, number: str, limits: tuple[float, float]) -> float:
    try:
        value = float(number) if key in _FRACTIONAL else int(number)
    except ValueError:
        kind = "a number" if key in _FRACTIONAL else "a whole number"
        raise ValueError(f"{text!r}: {section!r} has no number; {key} takes {kind}, as in {key}1") from None
    least, most = limits
    if not least <= value <= most:
        raise ValueError(f"{text!r}: {section!r} is out of range; {key} is from {least:g} to {most:g}")
    return value


def _random(numbers: dict[str, float]) -> Change:
    # Any number makes it increasing, 0 too, as it does in PaddleClas and timm.
    names = tables.RANDOM_INCREASING if "inc" in numbers else tables.RANDOM
    magnitude, count = numbers.get("m", 10), int(numbers.get("n", 2))
    weights = np.array(tables.WEIGHTS) / sum(tables.WEIGHTS) if "w" in numbers else None

    def change(image: np.ndarray, settings: Settings, rng: np.random.Generator) -> np.ndarray:
        if weights is None:
            drawn = rng.integers(len(names), size=count)
        else:
            drawn = rng.choice(len(names), count, replace=False, p=weights)
        for number in drawn:
            image = applied(image, names[number], 0.5, magnitude, settings, rng)
        return image

    return change


def _published(policy: tuple[tables.Pair, ...]) -> Change:
    def change(image: np.ndarray, settings: Settings, rng: np.random.Generator) -> np.ndarray:
        for name, probability, magnitude in policy[int(rng.integers(len(policy)))]:
            image = applied(image, name, probability, magnitude, settings, rng)
        return image

    return change


def _augmix(numbers: dict[str, float]) -> Change:
    magnitude, width, alpha = numbers.get("m", 3), int(numbers.get("w", 3)), numbers.get("a", 1.0)
    depth = int(numbers.get("d", 0))
    mix = _blended if numbers.get("b") else _mixed

    def change(image: np.ndarray, settings: Settings, rng: np.random.Generator) -> np.ndarray:
        weights, share = np.float32(rng.dirichlet([alpha] * width)), np.float32(rng.beta(alpha, alpha))
        chains = []
        for _ in range(width):
            chain = image
            for number in rng.integers(len(tables.MIXED), size=depth or rng.integers(1, 4)):
                chain = applied(chain, tables.MIXED[number], 1.0, magnitude, settings, rng)
            chains.append(chain)
        return mix(image, chains, weights, float(share))

    return change


def _mixed(image: np.ndarray, chains: list[np.ndarray], weights: np.ndarray, share: float) -> np.ndarray:
    """The chains' weighted mean, of which the result has a share."""
    mixed = sum(weight * chain.astype(np.float32) for weight, chain in zip(weights, chains, strict=True))
    mixed = np.clip(mixed, 0, 255).astype(np.uint8)
    return _blend(image, mixed, share)


def _blended(image: np.ndarray, chains: list[np.ndarray], weights: np.ndarray, share: float) -> np.ndarray:
    """Each chain blended with what was blended before, so that all come out with their weight in the share."""
    left, parts = 1.0, []
    for weight in weights[::-1] * share:
        parts.append(weight / left)
        left *= 1 - parts[-1]
    for chain, part in zip(chains, parts[::-1], strict=True):
        image = _blend(image, chain, float(part))
    return image


def _blend(first: np.ndarray, second: np.ndarray, part: float) -> np.ndarray:
    return np.asarray(Image.blend(Image.fromarray(first), Image.fromarray(second), part))
