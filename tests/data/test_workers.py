import multiprocessing
import os
import signal
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from paddle.io.dataloader import dataloader_iter
from support.processes import happens, runs

from ppcls_compress.data import segments, workers
from ppcls_compress.data.options import WorkerOptions
from ppcls_compress.errors import UserError


class Worker:
    def __init__(self, exitcode):
        self._exitcode, self.looks, self.killed = exitcode, 0, False

    @property
    def exitcode(self):
        self.looks += 1
        return self._exitcode

    def kill(self):
        self.killed = True


class Writer:
    closed = False

    def close(self):
        self.closed = True


def watched(*exitcodes):
    writer, ended = Writer(), []
    batches = SimpleNamespace(
        _workers=[Worker(code) for code in exitcodes],
        _data_queue=SimpleNamespace(_writer=writer),
        _exit_thread_unexpectedly=lambda: ended.append(True),
    )
    died, over = threading.Event(), threading.Event()
    watch = threading.Thread(target=workers._watch, args=(batches, died, over))
    watch.start()
    if any(exitcodes):
        watch.join()
    assert happens(lambda: all(worker.looks for worker in batches._workers) or ended)
    over.set()
    watch.join()
    assert bool(ended) is died.is_set()
    return died.is_set(), writer.closed, [worker.killed for worker in batches._workers]


def test_when_one_worker_dies_all_end_and_so_does_reading(monkeypatch):
    monkeypatch.setattr(workers, "_LOOK_EVERY", 0.001)
    assert watched(None, -9, None) == (True, True, [True, True, True])
    assert watched(None, 1) == (True, True, [True, True])
    assert watched(None, 0, None) == (False, False, [False, False, False])


class Work(paddle.io.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, number):
        return [workers._NOTHING, workers._NOTHING, {}, "", ""]


def test_an_error_of_the_reading_thread_is_one_line(monkeypatch, capsys):
    def broken(self):
        raise EOFError("half a message")

    monkeypatch.setattr(dataloader_iter._DataLoaderIterMultiProcess, "_get_data", broken)
    before = threading.excepthook
    with pytest.raises(UserError, match="a data worker process died"):
        list(workers.in_workers(Work(), WorkerOptions(num_workers=2)))
    assert "Traceback" not in capsys.readouterr().err
    assert threading.excepthook is before


@pytest.mark.parametrize("message", ["DataLoader process (pid 7) exited", "Blocking queue is killed"])
def test_an_error_that_comes_of_a_dead_worker_is_told_as_one(message):
    def interrupted():
        try:
            raise SystemError(message)
        finally:
            unlock()

    def unlock():
        raise RuntimeError("release unlocked lock")

    with pytest.raises(UserError, match="a data worker process died"), workers._dead_workers_told():
        interrupted()
    with pytest.raises(RuntimeError, match="unlocked"), workers._dead_workers_told():
        unlock()


class Images(paddle.io.Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, number):
        return [np.ones((2, 3, 8, 8), np.float32), np.ones(2, np.int64), {}, "", ""]


SHARED = Path("/dev/shm")
needs_shared_memory = pytest.mark.skipif(not SHARED.is_dir(), reason="shared memory is no folder here")


def segments_of(pids):
    return [path.name for pid in pids for path in SHARED.glob(f"paddle_{pid}_*")]


def read_one_batch(told):
    batches = workers.in_workers(Images(), WorkerOptions(num_workers=2))
    next(batches)
    told.send([process.pid for process in multiprocessing.active_children()])
    signal.pause()


@needs_shared_memory
def test_a_reader_that_is_killed_leaves_no_shared_memory():
    told, theirs = multiprocessing.Pipe(duplex=False)
    reader = multiprocessing.get_context("fork").Process(target=read_one_batch, args=(theirs,))
    reader.start()
    pids = told.recv()
    assert happens(lambda: segments_of(pids))
    os.kill(reader.pid, signal.SIGKILL)
    reader.join()
    assert happens(lambda: not any(runs(Path(f"/proc/{pid}/stat")) for pid in pids))
    assert happens(lambda: not segments_of(pids))


def orphaned():
    os.getppid = lambda: 1  # whoever forked it is gone before it could ask
    segments.end_with_parent()
    signal.pause()


def test_a_worker_whose_reader_is_killed_at_once_ends():
    worker = multiprocessing.get_context("fork").Process(target=orphaned)
    worker.start()
    try:
        assert happens(lambda: worker.exitcode is not None)
    finally:
        worker.kill()
        worker.join()
    assert worker.exitcode == 1


@needs_shared_memory
@pytest.mark.parametrize("killed", [True, False], ids=["a worker is killed", "reading ends early"])
def test_workers_leave_no_shared_memory(killed):
    batches = workers.in_workers(Images(), WorkerOptions(num_workers=2))
    kept = next(batches)
    children = multiprocessing.active_children()
    pids = [process.pid for process in children]
    assert happens(lambda: segments_of(pids))
    if killed:
        children[0].kill()
        os.waitid(os.P_PID, children[0].pid, os.WEXITED | os.WNOWAIT)
        signal.raise_signal(signal.SIGCHLD)  # raises nothing: the main thread may be anywhere
        with pytest.raises(UserError, match="a data worker process died"):
            list(batches)
    else:
        batches.close()
    assert segments_of(pids) == []
    assert float(kept.images.sum()) == kept.images.size
