"""What is read from strangers, each with good examples that are mutated: a case by number, for `harness`."""

from __future__ import annotations

import atexit
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mutate
import numpy as np
import yaml
from configurations import configs
from harness import Case, drawn
from pictures import pictures

from ppcls_compress import io, tensors
from ppcls_compress.data.labels import read_class_names, read_labelled_images
from ppcls_compress.data.places import Places
from ppcls_compress.data.transforms import parse_transforms
from ppcls_compress.data.transforms.pipeline import Pipeline
from ppcls_compress.errors import UserError


def lists(folder: Path) -> Case:
    """Lists of images and of class names."""
    images = folder / "images"
    images.mkdir()
    for index in range(8):
        (images / f"{index}.png").write_bytes(b"x")
    os.symlink("/etc", images / "out")
    good = "\n".join(f"{index % 8}.png {index % 3}" for index in range(24)) + "\n"
    names = "\n".join(f"{index} class {index}" for index in range(3)) + "\n"
    path = folder / "list.txt"
    words = (
        "../x.png 0",
        "/etc/passwd 1",
        "out/passwd 0",
        "0.png -1",
        "0.png 3",
        "0.png 99999999999999999999",
        "0.png 1.5",
        "0.png",
        " 0",
        "0.png\t1",
        "0.png 1 2",
        "\0 0",
        "0.png 0x1",
        "a" * 5000 + " 1",
        "0.png ²",
        "",
        "\ufeff0.png 1",
    )

    def case(number: int) -> str:
        draw = drawn("lists", number)
        text = names if number % 4 == 0 else good
        lines = text.split("\n")
        for _ in range(draw.choice((0, 1, 2))):
            lines.insert(draw.randrange(len(lines)), draw.choice(words))
        data = "\n".join(lines).encode()
        path.write_bytes(mutate.of_bytes(data, draw) if draw.random() < 0.7 else data)
        if number % 4 == 0:
            read_class_names(path, 3)
            return "accepted"
        found = read_labelled_images(
            places=Places(images, allow_outside=False),
            label_file=path,
            class_num=3,
            delimiter=None,
            relabel=draw.random() < 0.3,
            missing_allowed=0,
            where="DataLoader.Train.dataset",
        )
        inside = [os.path.realpath(name).startswith(os.path.realpath(images)) for name in found.paths]
        return "accepted" if all(inside) else "read outside"

    return case


def images(folder: Path) -> Case:
    """Image files of every format, decoded by both libraries."""
    good = [data for _, data in sorted(pictures().items())]
    steps = [
        Pipeline(parse_transforms([{"DecodeImage": {"backend": backend}}, {"ResizeImage": {"size": 16}}]))
        for backend in ("cv2", "pil")
    ]

    def case(number: int) -> str:
        draw = drawn("images", number)
        data = mutate.of_bytes(draw.choice(good), draw)
        found = steps[number % 2](data, np.random.default_rng(0))
        return "accepted" if found.shape == (3, 16, 16) and found.dtype == np.float32 else f"an image of {found.shape}"

    return case


def states(folder: Path) -> Case:
    """Checkpoints, weights, records, sensitivities, exported models; what has a checksum must not change unnoticed."""
    from states_made import make

    from ppcls_compress.engine.checkpoint import read_states

    prefix, artifact = make(folder / "made")
    names = sorted(path.name for path in prefix.parent.iterdir() if path.name.startswith(f"{prefix.name}."))
    files = [prefix.parent / name for name in names] + sorted(path for path in artifact.iterdir() if path.is_file())
    contents = {path: path.read_bytes() for path in files}
    readers = _readers(prefix, artifact)
    good = {path: reader(path) for path, reader in readers.items() if path in contents}
    place = folder / "case"

    def case(number: int) -> str:
        draw = drawn("states", number)
        path = draw.choice(files)
        data = _mutated(path, contents[path], draw)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for other in path.parent.iterdir():
            if other != path and other.is_file():
                os.link(other, place / other.name)
        (place / path.name).write_bytes(data)
        found = readers[path](place / path.name)
        if data == contents[path] or _plain(found) == _plain(good[path]):
            return "the same"
        member = path.suffix in _MEMBERS or path.name == f"{prefix.name}.slim.json"
        if member and not _refused(lambda: read_states(place / prefix.name)):
            return "an alteration accepted"
        summed = (path.suffix in _SUMMED and b"sha256" in data) or (path.parent == artifact and path.suffix != ".yml")
        return "an alteration accepted" if summed else "accepted"

    return case


_MEMBERS = (".pdstates", ".pdopt", ".pdparams", ".pdema")
_SUMMED = (".pdstates", ".pdopt", ".pdparams", ".pdema", ".safetensors")
"""Files that end with a checksum of their own, or have one inside."""


def _refused(read: Callable[[], Any]) -> bool:
    try:
        read()
    except UserError:
        return True
    return False


def _mutated(path: Path, data: bytes, draw: random.Random) -> bytes:
    if path.suffix == ".json" and draw.random() < 0.7:
        return json.dumps(mutate.of_value(json.loads(data), draw)).encode()
    if path.suffix == ".yml" and draw.random() < 0.7:
        return yaml.safe_dump(mutate.of_value(yaml.safe_load(data), draw)).encode()
    return mutate.of_bytes(data, draw)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return repr(value)


def _readers(prefix: Path, artifact: Path) -> dict[Path, Callable[[Path], Any]]:
    from ppcls_compress.deploy import artifact as artifacts
    from ppcls_compress.engine import checkpoint
    from ppcls_compress.slim.prune.sensitivity import Status

    found: dict[Path, Callable[[Path], Any]] = {}
    for path in (*prefix.parent.iterdir(), *artifact.iterdir()):
        name = path.name
        if path.parent == artifact:
            found[path] = lambda place: artifacts.load(place.parent).description
        elif name.endswith(".slim.json"):
            found[path] = lambda place: checkpoint.read_record(place.parent / prefix.name)
        elif name.endswith(".safetensors"):
            found[path] = lambda place: tensors.read(place)
        elif name.endswith(".sensitivities.json"):
            found[path] = lambda place: Status(str(place)).sensitivies
        elif name.endswith(".pdstates"):
            found[path] = lambda place: checkpoint.read_states(place.parent / prefix.name)
        else:
            found[path] = lambda place: io.read_state(place)
    return found


def records(folder: Path) -> Case:
    """Compression records, from which a network is rebuilt."""
    from states_made import make

    from ppcls_compress import models
    from ppcls_compress.engine.checkpoint import read_record
    from ppcls_compress.slim import recipe

    prefix, _ = make(folder / "made")
    good = json.loads(Path(f"{prefix}.slim.json").read_text())
    path = folder / "case.slim.json"

    def case(number: int) -> str:
        draw = drawn("records", number)
        found = good
        for _ in range(draw.choice((1, 1, 2))):
            found = mutate.of_value(found, draw)
        path.write_text(json.dumps(found))
        recipe.rebuild(models.build("CIFARResNet8", class_num=3), read_record(folder / "case"))
        return "accepted"

    return case


KINDS: dict[str, tuple[Callable[[Path], Case], int]] = {
    "configs": (configs, 10_000),
    "states": (states, 10_000),
    "records": (records, 2_000),
    "images": (images, 10_000),
    "lists": (lists, 2_000),
}
"""What is mutated, and how many cases a full run has."""


def made(kind: str) -> Case:
    """The cases of a kind, over files in a folder that is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix=f"faults-{kind}-"))
    owner = os.getpid()
    atexit.register(lambda: os.getpid() == owner and shutil.rmtree(folder, ignore_errors=True))
    return KINDS[kind][0](folder)
