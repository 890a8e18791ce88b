"""What changes when several processes train together; with one process everything here is a no-op."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import paddle
import paddle.distributed as dist

from ppcls_compress.errors import UserError

_LIBUV = "FLAGS_tcp_store_using_libuv"  # also the name of the variable that sets it


def start() -> None:
    """Join the process group when started by `python -m paddle.distributed.launch`.

    The store that rank 0 keeps is that of plain sockets, unless the user's environment says otherwise: Paddle's
    default, that of libuv, ends rank 0 with SIGABRT where another rank leaves just as rank 0 ends, and the launcher
    calls a job that is finished failed.
    """
    if world_size() == 1 or dist.is_initialized():
        return
    if _LIBUV not in os.environ:
        with suppress(ValueError):  # Paddle 3.0 has no other store, and no such flag
            paddle.set_flags({_LIBUV: False})
    dist.init_parallel_env()


def world_size() -> int:
    """The number of processes that train together."""
    return dist.get_world_size()


def is_main() -> bool:
    """Whether this process is the one that writes files and talks to the user."""
    return dist.get_rank() == 0


def wait_for_all() -> None:
    """Return when every process has come here."""
    if world_size() > 1:
        dist.barrier()


def wrap(model: paddle.nn.Layer) -> paddle.nn.Layer:
    """The model with its gradients averaged over processes; parameters start as those of rank 0."""
    return paddle.DataParallel(model) if world_size() > 1 else model


def add_up(sums: dict[str, float]) -> dict[str, float]:
    """The sum over processes of each value; all processes give the same names."""
    if world_size() == 1:
        return sums
    names = sorted(sums)
    values = paddle.to_tensor([sums[name] for name in names], dtype="float64")
    dist.all_reduce(values)
    return dict(zip(names, values.tolist(), strict=True))


def gather(parts: list[Any]) -> list[Any]:
    """The plain values of all processes in one list, in the order of their ranks."""
    if world_size() == 1:
        return parts
    everyone: list[list[Any]] = []
    dist.all_gather_object(everyone, parts)
    return [part for parts in everyone for part in parts]


def merge(tensors: Sequence[paddle.Tensor], *, largest: bool) -> None:
    """Give tensors, in place, the mean of what the processes have there, or the largest; one exchange for all."""
    if world_size() == 1 or not tensors:
        return
    flat = paddle.concat([tensor.detach().flatten().astype("float64") for tensor in tensors])
    dist.all_reduce(flat, op=dist.ReduceOp.MAX if largest else dist.ReduceOp.SUM)
    parts = (flat if largest else flat / world_size()).split([tensor.size for tensor in tensors])
    with paddle.no_grad():
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.set_value(part.astype(tensor.dtype).reshape(tensor.shape))


def any_of_them(flag: bool) -> bool:
    """Whether it is so in one of the processes at least."""
    if world_size() == 1:
        return flag
    found = paddle.to_tensor([int(flag)])
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return bool(found.item())


def from_main(value: float) -> float:
    """The main process' value, in every process."""
    if world_size() == 1:
        return value
    shared = [value]
    dist.broadcast_object_list(shared, src=0)
    return shared[0]


def check_same(what: str, value: Any) -> None:
    """Make sure that all processes hold the same plain value.

    Raises:
        UserError: they do not; training on would silently mix different networks.
    """
    if world_size() == 1:
        return
    everyone: list[Any] = []
    dist.all_gather_object(everyone, value)
    if any(other != everyone[0] for other in everyone):
        raise UserError(f"{what} differs between the {world_size()} processes; give all of them the same configuration")
