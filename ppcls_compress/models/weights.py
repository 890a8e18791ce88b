"""Weights: where they are, and how they get into a model, strictly."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import numpy as np
from paddle import Tensor, nn

from ppcls_compress import io
from ppcls_compress.declare.paths import weights_folder
from ppcls_compress.download import cache_path, fetch, is_url
from ppcls_compress.errors import UserError, closest
from ppcls_compress.models import catalog

_SHOWN = 4
_KEY = "Arch.pretrained"


@dataclass(frozen=True)
class LoadReport:
    """What `load_into` did.

    Attributes:
        source: where the weights came from.
        loaded: number of tensors set.
        reinitialized: names of the classifier's parameters that keep their fresh values.
        ignored: names in the file that the model has no use for, by its own account.
        own: names that the file lacks, or has in another shape, and that start afresh by the model's own account.
    """

    source: str
    loaded: int
    reinitialized: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    own: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.loaded} tensors loaded from {self.source}"
        if self.reinitialized:
            text += f"; the classifier has another class count and starts afresh: {', '.join(self.reinitialized)}"
        if self.own:
            text += f"; this network's own start afresh: {', '.join(self.own)}"
        if self.ignored:
            text += f"; {len(self.ignored)} of no use here: {_some(self.ignored)}"
        return text


def load_into(model: nn.Layer, state: Mapping[str, np.ndarray], *, source: str, reinit_head: bool = True) -> LoadReport:
    """Set every parameter and buffer of `model` from `state`, or none.

    A variant of a network says with globs what published weights have that it has not, `unused_weights`, and what they
    lack or have in another shape, `fresh_weights`.

    Args:
        state: arrays by structured name, as `io.read_state` gives them.
        source: what to call the weights in messages.
        reinit_head: leave a classifier of another class count as it is and report it, as fine-tuning needs; otherwise
            that is an error too.

    Raises:
        UserError: names missing, unexpected, or of another shape or type; the first several of each are listed.
    """
    own = model.state_dict()
    ignored = tuple(name for name in state if name not in own and _matches(name, model, "unused_weights"))
    unfit = (name for name in own if name not in state or _unlike(state[name], own[name]))
    fresh = tuple(name for name in unfit if _matches(name, model, "fresh_weights"))
    missing = [name for name in own if name not in state and name not in fresh]
    unexpected = [name for name in state if name not in own and name not in ignored]
    shared = [name for name in own if name in state and name not in fresh]
    unlike = {name: text for name in shared if (text := _unlike(state[name], own[name]))}
    head = _head_of_other_width(model, state, own, unlike)
    if missing or unexpected or len(unlike) > len(head) or (head and not reinit_head):
        hint = ""
        if not missing and not unexpected:
            only_head = len(unlike) == len(head)
            hint = "is class_num right?" if only_head else "weights of a pruned model need their .slim.json beside them"
        raise UserError(_mismatch(source, missing, unexpected, [f"{n} {text}" for n, text in unlike.items()], hint))
    for name in shared:
        if name not in head:
            own[name].set_value(state[name].astype(own[name].numpy().dtype, copy=False))
    return LoadReport(source, loaded=len(shared) - len(head), reinitialized=head, ignored=ignored, own=fresh)


def _matches(name: str, model: nn.Layer, attribute: str) -> bool:
    return any(fnmatchcase(name, glob) for glob in getattr(model, attribute, ()))


def _unlike(found: object, tensor: Tensor) -> str | None:
    """Why `found` cannot become the value of `tensor`."""
    if not isinstance(found, np.ndarray):
        return f"(a {type(found).__name__}, not an array)"
    if list(found.shape) != list(tensor.shape):
        return f"({list(found.shape)} in the file, {list(tensor.shape)} in the model)"
    dtype = tensor.numpy().dtype
    if not np.can_cast(found.dtype, dtype, "same_kind"):
        return f"({found.dtype} in the file, {dtype} in the model)"
    return None


def _head_of_other_width(
    model: nn.Layer, state: Mapping[str, np.ndarray], own: Mapping[str, Tensor], unlike: Collection[str]
) -> tuple[str, ...]:
    """The parameters of the classifier, when it differs from the file's in its number of classes and in nothing else.

    The classifier is the layer that owns the model's last parameter.
    """
    parameters = [name for name, _ in model.named_parameters()]
    owner = parameters[-1].rpartition(".")[0] if parameters else None
    head = tuple(name for name in parameters if name.rpartition(".")[0] == owner)
    if not all(name in unlike for name in head):
        return ()
    widths = {_sole_difference(np.shape(state[name]), own[name].shape) for name in head}
    return head if len(widths) == 1 and None not in widths else ()


def _sole_difference(found: Sequence[int], wanted: Sequence[int]) -> tuple[int, int] | None:
    """The sizes of the one axis in which two shapes differ, or None when they differ otherwise."""
    differing = [pair for pair in zip(found, wanted, strict=False) if pair[0] != pair[1]]
    return differing[0] if len(found) == len(wanted) and len(differing) == 1 else None


def _mismatch(source: str, missing: list[str], unexpected: list[str], unlike: list[str], hint: str) -> str:
    kinds = (("missing", missing), ("unexpected", unexpected), ("unlike the model's", unlike))
    parts = [f"{len(found)} {kind}: {_some(found)}" for kind, found in kinds if found]
    return f"{source}: does not fit the model: {'; '.join(parts)}" + (f"; {hint}" if hint else "")


def _some(names: Sequence[str]) -> str:
    return ", ".join([*names[:_SHOWN], *(["..."] if len(names) > _SHOWN else [])])


def resolve(pretrained: str | Literal[True], arch: str, *, use_ssld: bool = False, where: str = _KEY) -> Path:
    """The local `.pdparams` file of weights that a config means, downloaded into the cache folder if it has to be.

    Args:
        pretrained: True for the published weights of `arch`; or a URL; or a path, with or without `.pdparams`.
        use_ssld: with True, the weights of PaddleClas' SSLD distillation.
        where: the config key to blame.

    Raises:
        UserError: no such file, no published weights, or a download that fails.
    """
    if pretrained is True:
        url, checksum = _published(arch, use_ssld, where)
    elif is_url(pretrained):
        url, checksum = pretrained, None
    else:
        return _local(pretrained, where)
    try:
        return fetch(url, _kept(url), checksum=checksum)
    except UserError as error:
        without = f"; {where}: False trains from random weights" if pretrained is True else ""
        raise UserError(f"{where}: {error}{without}") from error


def needs_download(
    pretrained: str | Literal[True], arch: str, *, use_ssld: bool = False, where: str = _KEY
) -> str | None:
    """The URL that `resolve` would download, or None when the weights are a local path or in the cache."""
    url = _published(arch, use_ssld, where)[0] if pretrained is True else pretrained
    return url if is_url(url) and not _kept(url).exists() else None


def _kept(url: str) -> Path:
    return io.weights_file(cache_path(url))


def _published(arch: str, use_ssld: bool, where: str) -> tuple[str, tuple[str, str] | None]:
    """URL of the published weights, and their checksum as `fetch` takes it where one is published too."""
    entry = catalog.get(arch)
    if entry.module == "vision":
        from ppcls_compress.models import vision

        url, checksum = (None, None) if use_ssld else vision.published(arch)
    elif entry.module == "bridge":
        from ppcls_compress.models import bridge

        url, checksum = bridge.published(arch), None
    else:
        url, checksum = entry.url, None
    if url is None:
        kind = "SSLD weights" if use_ssld else "weights"
        raise UserError(
            f"{where}: no published {kind} of {arch} are known; give a path or a URL, or False for random ones"
        )
    if use_ssld and "_ssld_" not in url:
        url = url.replace("_pretrained", "_ssld_pretrained")
    return url, checksum


def _local(path: str, where: str) -> Path:
    given = Path(path).expanduser()
    named = io.weights_file(given)
    if named.is_file():
        return named
    if problem := weights_folder(given):
        raise UserError(f"{where}: no such file: {problem}")
    if given.is_file():
        raise UserError(f"{where}: weights are read from .pdparams and .safetensors files; rename {given} to {named}")
    siblings = [str(other) for other in named.parent.glob(f"*{named.suffix}")] if named.parent.is_dir() else []
    match = closest(str(named), siblings)
    raise UserError(f"{where}: no such file: {named}" + (f"; did you mean {match}?" if match else ""))
