"""Mutated configurations: texts, overrides, and sections drawn from the registries."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mutate
import numpy as np
import yaml
from harness import ROOT, Case, drawn
from pictures import pictures

from ppcls_compress.config.inert import inert_keys
from ppcls_compress.config.load import load_config
from ppcls_compress.config.paths import check_weights
from ppcls_compress.data.samplers import SAMPLERS
from ppcls_compress.data.transforms import BATCH_TRANSFORMS, TRANSFORMS
from ppcls_compress.data.transforms.pipeline import Pipeline
from ppcls_compress.losses import LOSSES
from ppcls_compress.metrics import METRICS
from ppcls_compress.optim.optimizers import OPTIMIZERS
from ppcls_compress.optim.schedules import SCHEDULES


def configs(folder: Path) -> Case:
    """Configurations as texts and as overrides: loaded, checked, and what they say of schedules and images built."""
    texts = [path.read_text() for path in sorted((ROOT / "configs").rglob("*.yaml"))]
    keys = [list(_keys(yaml.safe_load(text))) for text in texts]
    path = folder / "config.yaml"
    picture = pictures()["jpeg"]

    def case(number: int) -> str:
        draw = drawn("configs", number)
        index = draw.randrange(len(texts))
        overrides = []
        text = texts[index]
        if number % 4 == 2:
            path.write_text(text)
            overrides = [_section(draw)]
        elif number % 2:
            text = mutate.of_text(text, draw)
            data = text.encode("utf-8", "surrogatepass")
            path.write_bytes(mutate.of_bytes(data, draw) if draw.random() < 0.3 else data)
        else:
            path.write_text(text)
            for _ in range(draw.choice((1, 1, 2))):
                key, value = draw.choice(keys[index])
                overrides.append(f"{_key(key, draw)}={_like(value, draw)}")
        config = load_config(path, overrides)
        list(inert_keys(config))
        check_weights(config)
        for options in config.Optimizer or ():
            rate = options.lr.rate(epochs=config.Global.epochs, steps_per_epoch=7)
            for step in (0, 1, 7 * config.Global.epochs - 1, 7 * config.Global.epochs):
                rate(step)
        for mode in ("Train", "Eval"):
            loader = getattr(config.DataLoader, mode)
            if loader is not None and hasattr(loader, "dataset"):
                _prepare(loader.dataset.transform_ops, picture)
        return "accepted"

    return case


def _prepare(ops: Any, picture: bytes) -> None:
    """One image through the transforms, unless they make it larger than a test should."""
    sides = [side for op in ops for side in re.findall(r"\d{4,}", str(op))]
    if not sides:
        Pipeline(ops)(picture, np.random.default_rng(0))


def _keys(node: Any, path: str = "") -> Iterator[str]:
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in entries:
        name = f"{path}.{key}" if path else str(key)
        yield name, value
        yield from _keys(value, name)


def _like(value: Any, draw: random.Random) -> str:
    """A value of the same kind that may be extreme, or any nasty one."""
    if isinstance(value, (int, float)) and draw.random() < 0.7:
        return draw.choice(_NUMBERS)
    return draw.choice(mutate.NASTY_TEXT)


_NUMBERS = (
    "0",
    "1",
    "2",
    "3",
    "5",
    "17",
    "0.1",
    "0.5",
    "0.99",
    "1.5",
    "-1",
    "-0.5",
    "1e-30",
    "1e-300",
    "1e30",
    "1e38",
    "1e300",
    "1000",
    "65536",
    "1000000",
    "2147483647",
    "4294967295",
    "9007199254740992",
    "true",
    "null",
)
_TEXTS = (
    "cos",
    "linear",
    "min",
    "max",
    "rel",
    "abs",
    "x",
    "all",
    "L1",
    "L2",
    "bilinear",
    "cv2",
    "pil",
    "constant",
    "hwc",
    "fan_out",
)


def _section(draw: random.Random) -> str:
    """An override that names something of a registry, with some of its options, drawn."""
    place, registry, form = draw.choice(
        (
            ("Optimizer", OPTIMIZERS, "named"),
            ("Optimizer.lr", SCHEDULES, "named"),
            ("Optimizer.lr", SCHEDULES, "named"),
            ("Loss.Train", LOSSES, "list"),
            ("Metric.Eval", METRICS, "list"),
            ("DataLoader.Train.dataset.transform_ops.1", TRANSFORMS, "entry"),
            ("DataLoader.Train.dataset.transform_ops.1", TRANSFORMS, "entry"),
            ("DataLoader.Train.dataset.batch_transform_ops", BATCH_TRANSFORMS, "list"),
            ("DataLoader.Train.sampler", SAMPLERS, "named"),
        )
    )
    name = draw.choice(list(registry))
    fields = registry.get(name).model_fields
    options = {
        key: _drawn_option(field, draw) for key, field in fields.items() if field.is_required() or draw.random() < 0.4
    }
    if form == "named":
        found: Any = {"name": name, **options}
    else:
        found = {name: options}
    return f"{place}={json.dumps([found] if form == 'list' else found)}"


def _drawn_option(field: Any, draw: random.Random) -> Any:
    """Mostly a value of the right kind, so that what is behind the check of kinds is reached."""
    hint = str(field.annotation)
    if draw.random() < 0.04:
        return draw.choice([None, "", "x", [], {}, [[]], "nan", "1.0/255.0", -1, 2**63, "a" * 3000])
    choices = re.findall(r"'([\w]+)'", hint) if "Literal" in hint else []
    if choices:
        return draw.choice(choices)
    if "bool" in hint:
        return draw.random() < 0.5
    if "discriminator" in hint.lower() or "Tag" in hint:
        return {"name": "Constant", "learning_rate": 0.1}
    if "tuple" in hint or "list" in hint:
        return [_drawn_number(hint, draw) for _ in range(draw.choice((1, 2, 2, 3, 3)))]
    if "str" in hint and "int" not in hint and "float" not in hint:
        return draw.choice(_TEXTS)
    return _drawn_number(hint, draw)


def _drawn_number(hint: str, draw: random.Random) -> Any:
    if draw.random() < 0.6:
        return draw.choice((1, 2, 3, 5, 8, 16) if "float" not in hint else (0.1, 0.3, 0.5, 0.9, 1.0, 2.0))
    return json.loads(draw.choice(_NUMBERS[:-2]))


def _key(key: str, draw: random.Random) -> str:
    kind = draw.random()
    if kind < 0.8:
        return key
    parts = key.split(".")
    parts[draw.randrange(len(parts))] = draw.choice(("", "x", "-1", "99999999999999999999", "0", "name", "\0", "é"))
    return ".".join(parts)
