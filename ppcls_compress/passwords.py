"""URLs as they may be told and kept: without passwords.

This module is a leaf: every other package may import it.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

_PASSWORD = re.compile(r"^([\w+.-]+://[^:/?#]*):.*@", re.DOTALL)
_OPTION = re.compile(r"(?<=[?&])(?:\w*(?:pass|secret|token)\w*|pwd)=[^&\s\"'}]*&?", re.IGNORECASE)
_WITHIN = re.compile(r"([\w+.-]+://[^:/?#\s]*):.*@", re.DOTALL)


def without_secrets(url: str | None) -> str | None:
    """A URL without its password.

    Example:
        >>> without_secrets("postgresql://me:word@host/db?sslmode=require&sslpassword=other")
        'postgresql://me@host/db?sslmode=require'
    """
    return None if url is None else _OPTION.sub("", _PASSWORD.sub(r"\1@", url)).rstrip("?&")


def secrets_of(url: str) -> list[str]:
    """What of a URL must be told nowhere, as it is written there and as it is meant."""
    password = _PASSWORD.match(url)
    found = [password[0][len(password[1]) + 1 : -1]] if password else []
    found += [option[0].partition("=")[2].rstrip("&") for option in _OPTION.finditer(url)]
    return [text for secret in found if secret for text in (secret, unquote(secret))]


def hidden(word: str) -> str:
    """A word of a command without the password of a URL in it."""
    return _OPTION.sub("", _WITHIN.sub(r"\1@", word))
