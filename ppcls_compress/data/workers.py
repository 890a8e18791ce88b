"""An epoch's batches, made in this process or in worker processes; errors come out of either as they are."""

from __future__ import annotations

import gc
import os
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import paddle
from paddle.base import core

from ppcls_compress import stopping
from ppcls_compress.data import segments
from ppcls_compress.data.maker import Batch, BatchMaker
from ppcls_compress.data.options import WorkerOptions
from ppcls_compress.errors import UserError

_NOTHING = np.zeros(1, np.float32)  # stands for "no batch" on the way from a worker, where arrays must not be empty


class EpochWork(paddle.io.Dataset):
    """An epoch's batches by number; in a worker process an error becomes part of the answer.

    Paddle's own transport of a worker's exception loses its type and prints a traceback.
    """

    def __init__(self, maker: BatchMaker, epoch: int, start: int = 0) -> None:
        super().__init__()
        self._maker = maker
        self._epoch = epoch
        self._start = start
        self._batches = maker.sampler.batches(epoch)

    def __len__(self) -> int:
        return len(self._batches) - self._start

    def make(self, number: int) -> Batch:
        """A batch, counted from the first that is wanted; errors are raised as they are."""
        number += self._start
        return self._maker.make(self._epoch, number, self._batches[number])

    def __getitem__(self, number: int) -> list[Any]:
        try:
            batch = self.make(number)
        except UserError as error:
            return [_NOTHING, _NOTHING, {}, str(error), ""]
        except Exception as error:  # raised again in the parent
            return [_NOTHING, _NOTHING, {}, f"{type(error).__name__}: {error}", traceback.format_exc()]
        if batch.images is None:
            return [_NOTHING, _NOTHING, batch.bad, "", ""]
        return [batch.images, batch.labels, batch.bad, "", ""]


def in_process(work: EpochWork) -> Iterator[Batch]:
    """The epoch's batches as tensors, made here."""
    for number in range(len(work)):
        batch = work.make(number)
        if batch.images is None:
            yield batch
        else:
            yield Batch(paddle.to_tensor(batch.images), paddle.to_tensor(batch.labels), batch.bad)


def in_workers(work: EpochWork, options: WorkerOptions) -> Iterator[Batch]:
    """The epoch's batches as tensors, made by worker processes, in order.

    Raises:
        UserError: one that was raised in a worker, or a worker died.
        RuntimeError: any other error in a worker; its traceback is a note of the exception.
    """
    loader = paddle.io.DataLoader(
        work,
        batch_size=None,  # an item is a whole batch already
        collate_fn=_as_it_is,
        return_list=True,
        num_workers=min(options.num_workers, max(len(work), 1)),
        use_shared_memory=options.use_shared_memory,
        worker_init_fn=_one_thread,
    )
    died = threading.Event()
    with _reading_told(died):
        with _inherited_garbage_kept(), _dead_workers_told(), stopping.held():
            batches = iter(loader)
            # Or Paddle raises an error for a dead worker from a signal handler, wherever the main thread is then; one
            # raised while a lock is taken or given back becomes another error, or leaves the lock to nobody.
            core._erase_process_pids(id(batches))
        started = [worker.pid for worker in batches._workers]
        with _watched(batches, died):
            try:
                while (item := _next(batches, died)) is not None:
                    images, labels, bad, error, trace = item
                    if trace:
                        failure = RuntimeError(f"a data worker failed: {error}")
                        failure.add_note(trace)
                        raise failure
                    if error:
                        raise UserError(error)
                    empty = images.ndim == _NOTHING.ndim
                    yield Batch(None, None, bad) if empty else Batch(images, labels, bad)
            finally:
                # Workers would outlive a loop that is left early: the reading thread keeps the iterator alive.
                batches._try_shutdown_all()
                segments.remove_of(started)


@contextmanager
def _reading_told(died: threading.Event) -> Iterator[None]:
    """An error of the thread that reads from the workers sets `died`, in place of a traceback on the terminal."""
    earlier = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if args.thread is not None and _READING in args.thread.name:
            died.set()
        else:
            earlier(args)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = earlier


_READING = "_thread_loop"
"""The method of Paddle's that the thread runs, after which Python names it."""


@contextmanager
def _watched(batches: Any, died: threading.Event) -> Iterator[None]:
    """Around the use of workers: when one dies by itself, all of them end, and so does the reading from them.

    One that is killed while it sends leaves half a message, which the reading thread would wait for, and a lock, which
    the other workers would wait for. `died` is set then; that it is set ends everything too.
    """
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(batches, died, over), daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()


def _watch(batches: Any, died: threading.Event, over: threading.Event) -> None:
    while not over.wait(_LOOK_EVERY):
        if died.is_set() or any(worker.exitcode not in (None, 0) for worker in batches._workers):
            died.set()
            for worker in batches._workers:
                worker.kill()
            batches._data_queue._writer.close()  # the last one that holds it, so that reading comes to an end
            batches._exit_thread_unexpectedly()
            return


_LOOK_EVERY = 0.5
"""Seconds."""


@contextmanager
def _inherited_garbage_kept() -> Iterator[None]:
    """Around the fork of workers: what is garbage now is never collected in them.

    An earlier iterator may be waiting in a reference cycle; its destructor joins threads, which a forked process does
    not have, so a worker whose garbage collector met it would hang.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _next(batches: Iterator[Any], died: threading.Event) -> Any:
    with _dead_workers_told():
        item = next(batches, None)
    if item is None and died.is_set():
        raise UserError(_DIED)
    return item


@contextmanager
def _dead_workers_told() -> Iterator[None]:
    """The death of a data worker, which Paddle reports as a SystemError, becomes a UserError.

    Until its signal handler has nothing to tell any more Paddle may raise it inside of anything, so that another error
    comes of it, whose context it is.
    """
    try:
        yield
    except (SystemError, RuntimeError) as error:
        reason: BaseException | None = error
        while reason is not None and not any(part in str(reason) for part in _TOLD):
            reason = reason.__context__
        if reason is None:
            raise
        raise UserError(_DIED) from error


_TOLD = ("DataLoader process", "Blocking queue")
"""What Paddle's messages of dead workers contain."""

_DIED = (
    "a data worker process died, probably of too little memory; set a smaller loader.num_workers, or "
    "loader.use_shared_memory to False if /dev/shm is small"
)


def _as_it_is(item: Any) -> Any:
    return item


def _one_thread(worker: int) -> None:
    cv2.setNumThreads(0)  # workers share the cores; and OpenCV's thread pool does not survive the fork
    os.setpgid(0, 0)  # a signal to the whole group is for the training process, which ends its workers itself
    stopping.dropped()
    segments.end_with_parent()
