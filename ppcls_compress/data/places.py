"""Where listed images are: whether they exist, lie inside their folder, and why one that does not exist may not.

Folders are listed once each: a million separate look-ups would take minutes on a network disk.
"""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ppcls_compress.errors import UserError


@dataclass(frozen=True)
class _Listing:
    """A folder: the names in it that are no folders, which of them are links, and whether it lies inside the root."""

    names: frozenset[str]
    links: frozenset[str]
    inside: bool


class Found(Enum):
    """Where a listed image is."""

    INSIDE = 1
    OUTSIDE = 2
    MISSING = 3


class Places:
    """The images below a folder.

    Args:
        root: the folder.
        allow_outside: take paths and links that lead out of it.
    """

    def __init__(self, root: Path, *, allow_outside: bool) -> None:
        self.root = root
        self._allow_outside = allow_outside
        self._inside = os.path.realpath(root)
        self._listings: dict[str, _Listing] = {}

    def path(self, name: str) -> str:
        """Where the image is that a list calls `name`."""
        return os.path.join(self.root, name)

    def look(self, name: str) -> Found:
        """Whether there is a file of this name, and where; what kind of file is found out when it is read.

        Raises:
            UserError: its folder cannot be listed.
        """
        path = self.path(name)
        folder, file = os.path.split(path)
        listing = self._listings.get(folder) or self._listing(folder)
        if file not in listing.names:
            return Found.MISSING
        if not self._allow_outside:
            inside = self._is_inside(os.path.realpath(path)) if file in listing.links else listing.inside
            return Found.INSIDE if inside else Found.OUTSIDE
        return Found.INSIDE

    def _is_inside(self, place: str) -> bool:
        return place == self._inside or place.startswith(os.path.join(self._inside, ""))

    def _listing(self, folder: str) -> _Listing:
        names, links = _listed(folder)
        listing = _Listing(names, links, self._is_inside(os.path.realpath(folder)))
        self._listings[folder] = listing
        return listing


def _listed(folder: str) -> tuple[frozenset[str], frozenset[str]]:
    names, links = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink():
                    links.append(entry.name)
                if not entry.is_dir(follow_symlinks=False):
                    names.append(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{folder}: the folder cannot be listed: {reason}") from error
    return frozenset(names), frozenset(links)


def why_missing(root: Path, name: str) -> str:
    """What a list that names an image which is not there may mean, as the end of a message; empty if nobody knows."""
    if "\0" in name or len(name) > 4000:
        return ""
    for attempt, reason in (
        (name.replace("\\", "/"), "the list writes \\ between folders, which is part of a name here; write /"),
        (name.removeprefix(f"{root.name}/"), f"{root.name}/ is in image_root already"),
        (name.rstrip(",;|:"), "the line has a mark after the name, which the data set's delimiter can say"),
        (name.strip("\"'"), "quotes are part of the name here"),
        (" ".join(name.split()[:-1]) or name, "the line goes on after the name of the image"),
    ):
        if attempt != name and os.path.isfile(root / attempt):
            return f"; {reason}"
    path = root / name
    return "; it is a folder" if os.path.isdir(path) else _alike(path)


def _alike(path: Path) -> str:
    """A part of the path that is there under a name which only looks the same."""
    for parent in reversed([path, *path.parents]):
        if os.path.lexists(parent) or not os.path.isdir(parent.parent):
            continue
        for found in os.listdir(parent.parent):
            if unicodedata.normalize("NFC", found) == unicodedata.normalize("NFC", parent.name):
                forms = " and ".join(_form(text) for text in (parent.name, found))
                return f"; {found} is there, and differs in its Unicode form only (here and on the disk: {forms})"
            if found.casefold() == parent.name.casefold():
                return f"; {found} is there, which differs in upper and lower case"
    return ""


def _form(text: str) -> str:
    return next((form for form in ("NFC", "NFD") if unicodedata.is_normalized(form, text)), "neither NFC nor NFD")
