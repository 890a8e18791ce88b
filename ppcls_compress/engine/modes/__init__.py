"""The ways to train, by what `Global.train_mode` says.

A new one: a file here with a `Mode`, its line in `MODES`, its name among those that `config.sections` takes, and what
it needs of the configuration in `config.train_modes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ppcls_compress.config.schema import Config
from ppcls_compress.engine.hooks.progressive import ProgressiveDropout
from ppcls_compress.engine.modes.base import Mode
from ppcls_compress.engine.modes.metabin import METABIN

MODES: Mapping[str | None, Mode] = MappingProxyType(
    {
        None: Mode(),
        "classification": Mode(),
        "progressive": Mode(hooks=(ProgressiveDropout,)),
        "metabin": METABIN,
    }
)


def mode_of(config: Config) -> Mode:
    """The configured one."""
    return MODES[config.Global.train_mode]
