"""Files from the web, kept in a cache folder with their checksums.

This module is a leaf: every other package may import it. It does not import Paddle.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import logging
import os
import shutil
import urllib.request
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ppcls_compress import io
from ppcls_compress.errors import UserError

_TIMEOUT_SECONDS = 30
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_url(text: str) -> bool:
    """Whether `text` is an HTTP or HTTPS address."""
    return text.startswith(("http://", "https://"))


def cache_folder() -> Path:
    """`$PPCLS_COMPRESS_CACHE`, or `~/.cache/ppcls_compress`."""
    return Path(os.environ.get("PPCLS_COMPRESS_CACHE") or "~/.cache/ppcls_compress").expanduser()


def cache_path(url: str) -> Path:
    """Where the file of `url` is kept: under its host and path, so that equal file names do not meet."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].replace(":", "_")
    folders = [part for part in unquote(parts.path).split("/") if part not in ("", ".", "..")]
    path = cache_folder().joinpath(host, *(folders or ["index"]))
    if parts.query:
        path = path.with_name(f"{hashlib.sha256(parts.query.encode()).hexdigest()[:8]}-{path.name}")
    return path


def fetch(url: str, path: str | Path | None = None, *, checksum: tuple[str, str] | None = None) -> Path:
    """The file of `url`, downloaded unless it is there already; its SHA-256 is kept beside it and verified on reuse.

    A file that was put there by hand counts as downloaded.

    Args:
        path: where to keep it; `cache_path(url)` by default.
        checksum: what the publisher says of it: algorithm as `hashlib` names it, and hexadecimal digest.

    Raises:
        UserError: the download is impossible (the message says where to put the file), the file cannot be kept, or
            it is not what was published or not what was downloaded.
    """
    path = cache_path(url) if path is None else Path(path)
    if not path.exists():
        logging.getLogger(__name__).info("downloading %s to %s", url, path)
        with io.atomic(path) as partial:
            _download(url, partial, path)
            _verify_published(partial, checksum, what=url)
        _sidecar(path).unlink(missing_ok=True)  # one left from an earlier file
    if _sidecar(path).exists():
        _verify_kept(path)
    else:
        _verify_published(path, checksum, what=str(path))
        with io.atomic(_sidecar(path)) as partial:
            partial.write_text(f"{io.sha256(path)}  {path.name}\n", encoding="utf-8")
    return path


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _download(url: str, partial: Path, path: Path) -> None:
    with open(partial, "wb") as file:
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
                shutil.copyfileobj(response, file)
                expected = response.headers.get("Content-Length")
            size = file.tell()
            if expected is not None and size != int(expected):
                raise ConnectionError(f"the connection ended after {size} of {expected} bytes")
        except (OSError, http.client.HTTPException, ValueError) as error:
            if getattr(error, "errno", None) in _DISK_FULL:
                raise
            raise UserError(f"{url}: cannot be downloaded ({error}); get it elsewhere and put it at {path}") from error


def _verify_published(path: Path, checksum: tuple[str, str] | None, *, what: str) -> None:
    if checksum is None:
        return
    algorithm, expected = checksum
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != expected.lower():
        raise UserError(f"{what}: its {algorithm} is {found}, the published file's is {expected}")


def _verify_kept(path: Path) -> None:
    kept = _sidecar(path).read_text(encoding="utf-8").split()
    if not kept or io.sha256(path) != kept[0]:
        raise UserError(f"{path}: not what was downloaded, its SHA-256 has changed; delete it to download it again")
