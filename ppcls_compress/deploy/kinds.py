"""What a format is: where it lies, how it is written, run, and judged; and what runs one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ppcls_compress.deploy.extras import missing, require
from ppcls_compress.errors import UserError, unknown
from ppcls_compress.postprocess.base import OUTPUTS

if TYPE_CHECKING:
    import numpy as np
    import paddle

    from ppcls_compress.deploy.notes import Written


class Session(Protocol):
    """A loaded network."""

    def run(self, images: np.ndarray) -> np.ndarray:
        """Float32 images [N, C, H, W] to logits or probabilities [N, classes]."""


_Made = TypeVar("_Made")


class Shared:
    """What the formats of one model have in common: made for the first of them that asks, kept for those after it."""

    def __init__(self) -> None:
        self._made: dict[Hashable, Any] = {}

    def once(self, what: Hashable, make: Callable[[], _Made]) -> _Made:
        """What `make` gave when `what` was asked for first; whoever takes it leaves it as it is."""
        if what not in self._made:
            self._made[what] = make()
        return self._made[what]


@dataclass(frozen=True)
class Job:
    """A model to be written.

    Attributes:
        model: maps images [N, C, H, W] to logits [N, classes], or to several tensors; see `deploy.network`.
        image_shape: (C, H, W).
        output: what it is to give, a name in `postprocess.base.OUTPUTS`.
        quantization: the record's step of kind `quant`; None for a float network.
        calibration: preprocessed images [N, C, H, W]; None when there are none.
        shared: among the formats of this model.
    """

    model: paddle.nn.Layer
    image_shape: tuple[int, int, int]
    output: str
    quantization: Mapping[str, Any] | None
    calibration: Sequence[np.ndarray] | None = None
    shared: Shared = field(default_factory=Shared)

    @property
    def ending(self) -> str:
        """How that comes from the logits: `softmax`, `sigmoid` or `none`."""
        return OUTPUTS[self.output]


Opener = Callable[["Path", int], Session]
"""The folder of the files and a number of threads to the loaded network."""


BFLOAT16 = "bfloat16"
"""The setting of a runtime in which all that is not in integers computes in bfloat16."""


@dataclass(frozen=True)
class Setting:
    """Another way of running a format than the usual one.

    Attributes:
        name: in the description of an artifact that is run so.
        title: for tables, behind that of the runtime.
        open: loads the files so, with a number of threads.
        note: for the user: how it differs, and how others run it so.
    """

    name: str
    title: str
    open: Opener
    note: str


@dataclass(frozen=True)
class Runtime:
    """What runs a format.

    Attributes:
        name: on the command line and in the description.
        title: for messages.
        open: loads the files, with a number of threads.
        integer_kernels: (kernels that compute with integers, all of them) by kind of layer; None if that is not told.
        extra: of this package, which brings `needs`.
        needs: what must be importable, beside this package's own dependencies.
        safer: what is tried, in this order, where an artifact does not compute what its model does.
        rounding: what is faster and computes float with fewer bits, for those who ask for it.
    """

    name: str
    title: str
    open: Opener
    integer_kernels: Callable[[Path], dict[str, tuple[int, int]]] | None = None
    extra: str = ""
    needs: tuple[str, ...] = ()
    safer: tuple[Setting, ...] = ()
    rounding: tuple[Setting, ...] = ()

    def opener(self, setting: str = "") -> Opener:
        """What loads the files in one of its settings, by name; empty for the usual one.

        Raises:
            UserError: it has no such setting.
        """
        return self._setting(setting).open if setting else self.open

    def manner(self, setting: str = "") -> str:
        """The title of one of its settings, by name; empty for the usual one.

        Raises:
            UserError: it has no such setting.
        """
        return self._setting(setting).title if setting else ""

    def _setting(self, name: str) -> Setting:
        settings = {item.name: item for item in (*self.safer, *self.rounding)}
        if name not in settings:
            raise UserError(unknown(f"setting of {self.title}", name, settings))
        return settings[name]

    def rounds(self, setting: str) -> bool:
        """Whether float is computed with fewer bits in one of its settings, by name."""
        return setting in {item.name for item in self.rounding}

    @property
    def installed(self) -> bool:
        """Whether it can be used here."""
        return not missing(self.needs)

    def require(self) -> None:
        """Check that it is installed.

        Raises:
            MissingDependencyError: says which extra brings it.
        """
        require(self.needs, self.extra)


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: on the command line and in the description.
        folder: below the directory of all exports; empty for that directory itself.
        files: the network files.
        runtimes: what runs it; the first is its own, which every export is compared in.
        agreement: fraction of real images whose most likely class must be that of the trained quantized network.
        mean: largest mean difference of its logits, relative to the largest logit.
        write: writes the files into a folder.
        extra: of this package, which brings `writes`.
        writes: what must be importable to write it, beside this package's own dependencies.
        calibrated: whether quantized networks need calibration images.
        rounds_more: whether it rounds more than training for deployment does, so that those networks need them too.
        fixed: whether it holds one range for each tensor, so that those need calibration images too whose layers find
            their range anew for each batch.
        companions: formats that are written along with it for a quantized network.
        selectable: whether a user may ask for it; what is a companion only, may not.
        any_grid: whether its kernels know zero points other than 0 and ranges per channel.
        explain: the files of a quantized network that is not what was trained, and images [N, C, H, W], to words on the
            layer whose ranges explain it, or None; None where nobody can tell.
        elsewhere: what it is meant for, where that does not run here: its runtimes compare it, and their times say
            nothing of that.
    """

    name: str
    folder: str
    files: tuple[str, ...]
    runtimes: tuple[Runtime, ...]
    agreement: float
    mean: float
    write: Callable[[Job, Path], Written]
    extra: str = ""
    writes: tuple[str, ...] = ()
    calibrated: bool = False
    rounds_more: bool = False
    fixed: bool = False
    companions: tuple[str, ...] = ()
    selectable: bool = True
    any_grid: bool = True
    explain: Callable[[Job, Path, np.ndarray], str | None] | None = None
    elsewhere: str = ""

    def require(self) -> None:
        """Check that the packages are there that an export takes, which writes the format and runs it to compare.

        Raises:
            MissingDependencyError: says which extra brings them.
        """
        require(tuple(dict.fromkeys((*self.writes, *self.runtimes[0].needs))), self.extra)

    def runtime(self, name: str | None = None) -> Runtime:
        """One of its runtimes; None for its own.

        Raises:
            UserError: it does not run there; the message names where it does.
        """
        if name is None:
            return self.runtimes[0]
        names = [item.name for item in self.runtimes]
        if name not in names:
            raise UserError(f"the format {self.name} does not run in {name!r}; it runs in {' and '.join(names)}")
        return self.runtimes[names.index(name)]
