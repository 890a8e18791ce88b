"""Processes that an export or a benchmark starts, forked from one where Paddle is loaded, instead of each loading it.

`command` takes the place of `deploy.fresh.command`. What it starts is `forked.py`, which lends its standard streams,
its environment and its folder to a process that the server here forks, and ends as that does. They share no state with
the test: the server is a process of its own that computes nothing. Where PYTHONPATH is another one, Python is started.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from contextlib import suppress
from functools import cache
from pathlib import Path

from ppcls_compress.deploy import fresh

_VARIABLES = fresh.environment(1)
_LOADED = (
    "paddle",
    "ppcls_compress.deploy.verify",
    "ppcls_compress.deploy.measure.latency_worker",
    "paddle2onnx",
    "onnx",
    "onnxruntime",
)
_CLIENT = Path(__file__).with_name("forked.py")
_STREAMS = (0, 1, 2)

started = fresh.command


def command(module, *arguments):
    """As `fresh.command`."""
    start = [sys.executable, "-I", "-S", str(_CLIENT), _server(), _VARIABLES["PYTHONPATH"]]
    return [*start, json.dumps(started(module, *arguments)), module, *arguments]


@cache
def _server():
    """The address of the server, which ends with this process."""
    folder = tempfile.TemporaryDirectory()
    address = str(Path(folder.name, "socket"))
    path = os.pathsep.join((_VARIABLES["PYTHONPATH"], str(_CLIENT.parents[1])))
    words = [sys.executable, "-P", "-W", "ignore", __file__, address]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    # In a session of its own, so that Ctrl-C is for the tests alone; it ends when its standard input does.
    server = subprocess.Popen(words, env={**_VARIABLES, "PYTHONPATH": path}, **streams, start_new_session=True)
    server.stdout.read(1)  # it listens

    def end():
        server.stdin.close()
        server.wait()
        folder.cleanup()

    atexit.register(end)
    return address


def _short(address):
    """The same place in few characters: of a path as long as `TMPDIR` may make it, no socket can be."""
    folder, name = os.path.split(address)
    return f"/proc/self/fd/{os.open(folder, os.O_PATH)}/{name}"


def _serve(address):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(_short(address))
        listening.listen()
        os.write(1, b".")
        os.dup2(2, 1)
        for name in _LOADED:
            with suppress(Exception):  # what cannot be imported fails where it is wanted
                importlib.import_module(name)
        while True:
            ready, _, _ = select.select([listening, 0], [], [])
            if 0 in ready:
                return
            asking, _ = listening.accept()
            with asking:
                if not os.fork():
                    listening.close()
                    _watch(asking)
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def _watch(asking):
    """Fork the process that was asked for; kill it when who asks is gone, else tell how it ended."""
    try:
        text, streams, _, _ = socket.recv_fds(asking, 1 << 20, len(_STREAMS))
        process = os.fork()
        if not process:
            asking.close()
            _call(streams, **json.loads(text))
        with suppress(OSError):  # it has done so, and is gone
            os.setpgid(process, process)
        for stream in streams:
            os.close(stream)
        ended = os.pidfd_open(process)
        ready, _, _ = select.select([asking, ended], [], [])
        if ended not in ready:
            os.killpg(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        with suppress(BrokenPipeError):
            asking.sendall(json.dumps(os.waitstatus_to_exitcode(status)).encode())
    finally:
        os._exit(0)


def _call(streams, module, arguments, environment, folder):
    code = 1
    try:
        for stream, own in zip(streams, _STREAMS, strict=True):
            os.dup2(stream, own)
            os.close(stream)
        os.setpgid(0, 0)  # as the other process does, whichever is first
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
        if isinstance(ending.code, str):
            sys.stderr.write(f"{ending.code}\n")
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1])
