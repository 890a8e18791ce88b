"""A folder of images for each class, as lists for training and validation; the images stay where they are.

python -m ppcls_compress.data.folder ROOT --out DIR               # ROOT/cat/1.jpg, ROOT/dog/old/2.png, ...
python -m ppcls_compress.data.folder ROOT --out DIR --val 0.1     # share of each class for validation
python -m ppcls_compress.data.folder ROOT --out DIR               # ROOT/train/cat/..., ROOT/val/cat/...: split as it is
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppcls_compress import io
from ppcls_compress.data.images.files import read_image
from ppcls_compress.data.images.header import BadImageError, open_image
from ppcls_compress.data.images.listing import is_image_name, names_below
from ppcls_compress.data.images.truncation import is_truncated
from ppcls_compress.data.writing import MANIFEST, described, run
from ppcls_compress.declare.paths import instead_of
from ppcls_compress.errors import ConfigError, UserError

TRAIN, VAL = "train", "val"
SPLITS = {"train": TRAIN, "training": TRAIN, "val": VAL, "valid": VAL, "validation": VAL, "test": VAL}
"""Folders that hold the folders of classes, if there are no others."""
_NAME = "class folders"
SHARE = 0.2
"""Of each class, for validation."""


@dataclass(frozen=True)
class Image:
    """An image of a class folder.

    Attributes:
        name: its path below the root, with `/`.
        label: its class.
        size: width and height.
    """

    name: str
    label: str
    size: tuple[int, int]


@dataclass(frozen=True)
class ClassFolders:
    """What a folder of class folders holds.

    Attributes:
        classes: their names, in order.
        train: the images to train on.
        val: the images to validate on.
        skipped: what is none of them, and why.
    """

    classes: tuple[str, ...]
    train: tuple[Image, ...]
    val: tuple[Image, ...]
    skipped: Mapping[str, str]


def read_class_folders(root: str | Path, *, share: float = SHARE, seed: int = 0) -> ClassFolders:
    """Sort the images below a folder into classes, by the first folder that each is in, and into two lists.

    Where all folders are called `train`, `val` or the like, with the classes inside them, the split stays as it is.
    Otherwise every class gives about `share` of its images to validation, one at least and not the only one. Which
    they are depends on their names and the seed alone, so that the split stays when images are added.

    Raises:
        UserError: there is no such folder, there are not two classes with images in it, or a class of the validation
            folder is in no training.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: {'is no folder' if root.exists() else f'no such folder{instead_of(root)}'}")
    if not 0 < share < 1:
        raise ConfigError(f"--val: expected a share between 0 and 1, found {share}")
    skipped: dict[str, str] = {}
    named = [name for name in names_below(root) if _is_listable(name, skipped)]
    tops = {name.split("/")[0] for name in named if "/" in name}
    is_split = len({SPLITS.get(top.lower()) for top in tops} - {None}) == 2 and all(t.lower() in SPLITS for t in tops)
    if is_split:
        named = _without_test(named, tops, skipped)
    depth = 2 if is_split else 1
    images = list(_without_copies(root, _images(root, named, depth, skipped), skipped))
    if is_split:
        of = {id(image): SPLITS[image.name.split("/")[0].lower()] for image in images}
    else:
        of = {id(image): split for image, split in _split(images, share, seed)}
    train, val = (tuple(image for image in images if of[id(image)] == split) for split in (TRAIN, VAL))
    classes = tuple(sorted({image.label for image in train}))
    _check(root, classes, val, skipped)
    return ClassFolders(classes, train, val, skipped)


def _without_test(named: Sequence[str], tops: Iterable[str], skipped: dict[str, str]) -> list[str]:
    """What is not of a test split, where there is one for validation too: it is kept for the end."""
    if not any(SPLITS[top.lower()] == VAL and top.lower() != "test" for top in tops):
        return list(named)
    left = [name for name in named if name.split("/")[0].lower() == "test"]
    skipped.update(dict.fromkeys(left, "of a test split, beside one for validation"))
    return [name for name in named if name not in skipped]


def _is_listable(name: str, skipped: dict[str, str]) -> bool:
    """Whether a file can stand in a list; why not is told."""
    if name.endswith("/"):
        skipped[name] = "a hidden folder" if name.split("/")[-2].startswith(".") else "a link to a folder"
    elif not is_image_name(name):
        skipped[name] = "no image, by the ending of its name"
    elif any(character in name for character in "\n\r\0"):
        skipped[name] = "a line break in its name, which no list can have"
    elif not _is_text(name):
        skipped[name] = "its name is no text in UTF-8"
    return name not in skipped


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _images(root: Path, named: Sequence[str], depth: int, skipped: dict[str, str]) -> Iterator[Image]:
    inside = os.path.join(os.path.realpath(root), "")
    for name in named:
        parts = name.split("/")
        if len(parts) <= depth:
            skipped[name] = "in no folder of a class"
        elif not os.path.realpath(root / name).startswith(inside):
            skipped[name] = "a link that leads out of the folder"
        else:
            try:
                yield Image(name, parts[depth - 1], _size(root / name))
            except BadImageError as error:
                skipped[name] = str(error).removeprefix(f"{root / name}: ")


def _size(path: Path) -> tuple[int, int]:
    data = read_image(path)
    image = open_image(data)
    if is_truncated(data):
        raise BadImageError("the image is truncated")
    return image.size


def _without_copies(root: Path, images: Iterator[Image], skipped: dict[str, str]) -> Iterator[Image]:
    """One of each group of files with the same bytes, and none where they are of several classes."""
    alike: dict[object, list[Image]] = defaultdict(list)
    found = list(images)
    for image in found:
        alike[image.size, (root / image.name).stat().st_size].append(image)
    same: dict[str, list[Image]] = defaultdict(list)
    for group in alike.values():
        for image in group if len(group) > 1 else ():
            same[io.sha256(root / image.name)].append(image)
    for group in same.values():
        for image in group:
            other = next((other for other in group if other.label != image.label), None)
            if other is not None:
                skipped[image.name] = f"has the bytes of {other.name}, which is of another class"
            elif image is not group[0]:
                skipped[image.name] = f"a copy of {group[0].name}"
    yield from (image for image in found if image.name not in skipped)


def _split(images: Sequence[Image], share: float, seed: int) -> Iterator[tuple[Image, str]]:
    by_class: dict[str, list[Image]] = defaultdict(list)
    for image in images:
        by_class[image.label].append(image)
    for group in by_class.values():
        group = sorted(group, key=lambda image: hashlib.sha256(f"{seed}/{image.name}".encode()).digest())
        count = min(max(1, round(len(group) * share)), len(group) - 1)
        yield from ((image, VAL if position < count else TRAIN) for position, image in enumerate(group))


def _check(root: Path, classes: Sequence[str], val: Sequence[Image], skipped: Mapping[str, str]) -> None:
    strange = sorted({image.label for image in val} - set(classes))
    if strange:
        raise UserError(f"{root}: no images to train on of {', '.join(strange[:4])}, which validation has")
    if len(classes) < 2:
        why = f"; left out, for one: {(first := next(iter(skipped)))}: {skipped[first]}" if skipped else ""
        raise UserError(
            f"{root}: two folders with images, one for each class, are needed, such as {root}/cat and {root}/dog; "
            f"{len(classes)} found{why}"
        )
    if not val:
        raise UserError(f"{root}: no images are left to validate on; each class needs two images at least")


def write_lists(root: str | Path, out: str | Path, *, share: float = SHARE, seed: int = 0) -> ClassFolders:
    """Write `train_list.txt`, `val_list.txt`, `label_list.txt` and `skipped.txt` of the images below `root`.

    Lists of the same folder that are there already are replaced, and nothing else is.

    Raises:
        UserError: as `read_class_folders`; or `out` holds something else, or cannot be written.
    """
    root, out = Path(root).resolve(), Path(out)
    before = described(out) if out.exists() else {}
    if (out.is_dir() and any(out.iterdir()) and (before.get("name"), before.get("root")) != (_NAME, str(root))) or (
        out.exists() and not out.is_dir()
    ):
        raise UserError(f"{out} holds something else; give a folder that is new or empty")
    found = read_class_folders(root, share=share, seed=seed)
    number = {name: label for label, name in enumerate(found.classes)}
    texts = {
        "train_list.txt": "".join(f"{_listed(image.name)} {number[image.label]}\n" for image in found.train),
        "val_list.txt": "".join(f"{_listed(image.name)} {number[image.label]}\n" for image in found.val),
        "label_list.txt": "".join(f"{label} {name}\n" for name, label in number.items()),
        "skipped.txt": "".join(f"{_shown(name)}\t{_shown(reason)}\n" for name, reason in sorted(found.skipped.items())),
    }
    with io.atomic_files([out / name for name in texts]) as files:
        for file, text in zip(files, texts.values(), strict=True):
            file.write_text(text, encoding="utf-8")
    counts = {"classes": len(found.classes), "train": len(found.train), "val": len(found.val)}
    io.write_json(out / MANIFEST, {"name": _NAME, "root": str(root), "seed": seed, "share": share, **counts})
    return found


def root_of(lists: str | Path) -> Path | None:
    """The folder of images that lists in `lists` were written for; None where they are of another kind."""
    manifest = described(Path(lists))
    return Path(str(manifest["root"])) if manifest.get("name") == _NAME else None


def _listed(name: str) -> str:
    """A name as a line may begin: a list knows nothing of white space at the ends of a line."""
    return name if name == name.strip() else f"./{name}"


def _shown(text: str) -> str:
    return text.replace("\n", "\\n").replace("\r", "\\r").encode(errors="backslashreplace").decode()


def tell(found: ClassFolders, out: str | Path) -> None:
    """What was left out, by reason, on standard error; and classes with few images."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for name, reason in sorted(found.skipped.items()):
        kind = "a copy of another" if reason.startswith("a copy of ") else reason
        reasons[kind].append(name)
    for reason, names in reasons.items():
        some = ", ".join(_shown(name) for name in names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")
        sys.stderr.write(f"left out: {some}: {_shown(reason)}\n")
    if found.skipped:
        sys.stderr.write(f"left out: {len(found.skipped)} in all, listed in {Path(out) / 'skipped.txt'}\n")
    counts = {name: sum(image.label == name for image in found.train) for name in found.classes}
    few = min(counts, key=counts.get)
    if counts[few] * 10 < max(counts.values()) or counts[few] < 5:
        most = max(counts.values())
        more = "" if most == counts[few] else f", and up to {most} of others"
        sys.stderr.write(f"note: to train on there are only {counts[few]} of {_shown(few)}{more}\n")
    alone = [name for name in found.classes if all(image.label != name for image in found.val)]
    if alone:
        sys.stderr.write(f"note: none to validate on of {', '.join(alone[:4])}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ppcls_compress.data.folder", description=__doc__.splitlines()[0])
    parser.add_argument("root", metavar="ROOT", help="the folder that has a folder of images for each class")
    parser.add_argument("--out", required=True, metavar="DIR", help="where the lists go")
    parser.add_argument(
        "--val", type=float, default=SHARE, metavar="X", help="share of each class for validation (default: 0.2)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another one splits otherwise (default: 0)")
    args = parser.parse_args(argv)

    def write() -> tuple[int, int, bool]:
        found = write_lists(args.root, args.out, share=args.val, seed=args.seed)
        tell(found, args.out)
        return len(found.train), len(found.val), True

    return run(args.out, write)


if __name__ == "__main__":
    sys.exit(main())
