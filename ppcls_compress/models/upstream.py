"""Which networks a PaddleClas on the path has, and what options they take; read off its files, nothing of it is run.

Paddle-free, as the catalogue is; `ppcls_compress.models.bridge` builds.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from ppcls_compress.errors import ConfigError, unknown
from ppcls_compress.models.families.base import ArchOptions

BACKBONES = Path("arch") / "backbone"
INSTALL = "pip install --no-deps paddleclas==2.6.0, or a PaddleClas checkout on PYTHONPATH"
WIDTHS = {"CLIP_large_patch14_224_aesthetic": 1}
"""Of networks that give a score, whatever number of classes they are told."""
_COMMON = frozenset({"class_num", "pretrained", "use_ssld"})


class UpstreamOptions(ArchOptions):
    """Any options: the network's own code says which it takes, see `check_options`."""

    model_config = ArchOptions.model_config | {"extra": "allow"}


def root() -> Path | None:
    """The folder `ppcls` of the first PaddleClas on the path, installed or checked out; None where there is none."""
    for folder in _candidates():
        if (folder / BACKBONES / "__init__.py").is_file():
            return folder
    return None


def _candidates() -> Iterator[Path]:
    for name, inner in (("paddleclas", "ppcls"), ("ppcls", "")):
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):  # a module that somebody put there by hand
            continue
        if spec is None:
            continue
        for folder in spec.submodule_search_locations or ([str(Path(spec.origin).parent)] if spec.origin else []):
            yield Path(folder) / inner


def modules(ppcls: Path) -> Mapping[str, str]:
    """Network name -> its module below `arch/backbone`."""
    return _modules(ppcls)


@lru_cache(maxsize=4)
def _modules(ppcls: Path) -> Mapping[str, str]:
    found = {}
    for node in ast.walk(_parsed(ppcls / BACKBONES / "__init__.py")):
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            found.update({alias.asname or alias.name: node.module for alias in node.names})
    return found


def find(name: object) -> Path | None:
    """The folder `ppcls` that has a network of this name; None where there is no PaddleClas, or none such in it."""
    ppcls = root()
    return ppcls if ppcls is not None and isinstance(name, str) and name in modules(ppcls) else None


def names() -> list[str]:
    """The networks of the PaddleClas on the path; none where there is none."""
    ppcls = root()
    return sorted(modules(ppcls)) if ppcls is not None else []


def check_options(name: str, options: Mapping[str, object], *, where: str) -> None:
    """Refuse an option that the code of a network nowhere speaks of.

    Raises:
        ConfigError: with the closest of those that it does.
    """
    ppcls = find(name)
    known = _words(ppcls, modules(ppcls)[name]) | _COMMON
    for key in options:
        if key not in known:
            likely = {word for word in known if "_" in word or len(word) > 3}
            raise ConfigError(f"{where}.{key}: {unknown(f'option of {name}', key, likely)}")


def class_option(name: str) -> str:
    """What a network calls the number of its classes."""
    ppcls = find(name)
    return "class_num" if "class_num" in _words(ppcls, modules(ppcls)[name]) else "num_classes"


@lru_cache(maxsize=64)
def _words(ppcls: Path, module: str) -> frozenset[str]:
    """The parameters of all functions of a module and of those that it takes from, and the keys that they look up."""
    found: set[str] = set()
    waiting, seen = [ppcls / BACKBONES / f"{module.replace('.', '/')}.py"], set()
    while waiting:
        path = waiting.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        for node in ast.walk(_parsed(path)):
            if isinstance(node, ast.arguments):
                found.update(each.arg for each in (*node.posonlyargs, *node.args, *node.kwonlyargs))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
                found.add(node.value)
            elif isinstance(node, ast.ImportFrom) and node.level in (1, 2) and node.module:
                waiting.append(path.parents[node.level - 1] / f"{node.module.replace('.', '/')}.py")
    return frozenset(found)


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        raise ConfigError(f"Arch.name: {path} of PaddleClas cannot be read: {error}") from error
