"""The start of a process that does not outlive the one that waits for it.

`python -m ppcls_compress.deploy.child FOLDER MODULE ARGUMENTS` runs `python -m MODULE ARGUMENTS`. Its standard input is
a pipe that only the waiting process holds open: even after SIGKILL, which nobody can catch, it reads the end of that.
Then it removes FOLDER, the other's temporary one, and ends with all that it started.
"""

from __future__ import annotations

import logging
import os
import runpy
import shutil
import signal
import sys
import threading


def _end_with_parent(folder: str) -> None:
    os.read(sys.stdin.fileno(), 1)  # not `sys.stdin.read`, whose lock would be held when the interpreter ends
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def _main(folder: str, module: str, *arguments: str) -> None:
    if os.getpgrp() != os.getpid():
        sys.exit("ppcls_compress.deploy.child: ends its process group, so it must be started as the leader of one")
    threading.Thread(target=_end_with_parent, args=(folder,), daemon=True).start()
    logging.getLogger("ppcls_compress").setLevel(logging.ERROR)  # only how it ends is told, by its last line
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
