import threading
from types import SimpleNamespace

import paddle
import pytest
from paddle.io.dataloader import dataloader_iter

from ppcls_compress.data import workers
from ppcls_compress.data.options import WorkerOptions
from ppcls_compress.errors import UserError


class Worker:
    def __init__(self, exitcode):
        self.exitcode, self.killed = exitcode, False

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
    watch.join(0.1)
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
