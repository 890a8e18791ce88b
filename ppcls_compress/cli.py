"""The command line: `ppcls-compress train -c config.yaml`, or `python tools/train.py -c config.yaml`."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import gc
import importlib
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import ModuleType

from ppcls_compress import __version__, paddle_version
from ppcls_compress.engine.logs import reporting
from ppcls_compress.engine.progress import shown
from ppcls_compress.errors import NotKeptError, UserError, closest, cut, shortened, unknown
from ppcls_compress.passwords import hidden
from ppcls_compress.stopping import Terminated, terminable

COMMANDS = {
    "init": "write a configuration for images of your own",
    "train": "train, with pruning and quantization as the Slim section says",
    "eval": "evaluate a checkpoint on the validation set",
    "quantize": "quantize trained weights by calibration alone, and evaluate them",
    "import_weights": "put the weights of an exported model into a network, for training and pruning",
    "analyze": "tell what quantization does to each layer, why, and what helps",
    "compress": "search the compression that keeps a contract (Slim.auto), and export it; or refuse",
    "profile": "time the layers of a network on this machine, for searches and exports here or elsewhere",
    "sensitivity": "measure what the pruning of each layer costs, and suggest ratios",
    "summary": "tell shapes, parameters, multiply-adds and quantization of each layer",
    "infer": "classify images with a checkpoint or an exported artifact",
    "export_model": "write an artifact that runs without this toolkit, and check it",
    "benchmark": "time exported models side by side, in every runtime",
    "check_configs": "rehearse the training of many configurations, and tell which do not pass",
    "report": "put the results of several exported models into one table",
}


_GOES_ON = {
    "train": "; --resume goes on from the last checkpoint, if there is one",
    "compress": "; the same command goes on",
}
"""What to do about a command that was stopped."""

_LONGEST_LINE = 2000
"""Characters of an error: a value or path of a hundred thousand is not repeated in full."""


def main(argv: Sequence[str] | None = None, *, command: str | None = None) -> int:
    """Run one command; `command` is given by the scripts in `tools/`, else the first argument names it.

    Returns:
        The exit code: 0; 2 after an error that the user can mend, which is told in one line; 3 where a contract
        (`Slim.auto`) cannot be kept; 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if command is None:
        command = _command_of(argv)
        argv = argv[1:]
        if command is None:
            return 2
    try:
        return _run(command, argv)
    except UserError as error:
        sys.stderr.write("".join(f"error: {cut(line, _LONGEST_LINE)}\n" for line in str(error).splitlines()))
        return 3 if isinstance(error, NotKeptError) else 2
    except KeyboardInterrupt as reason:
        sys.stderr.write(f"stopped{_GOES_ON.get(command, '')}\n")
        return 128 + (reason.number if isinstance(reason, Terminated) else signal.SIGINT)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a disk that fills up, a file that vanishes: where no code could say more about it
        where = f"{cut(str(error.filename), _LONGEST_LINE)}: " if error.filename is not None else ""
        sys.stderr.write(f"error: {where}{error.strerror or str(error) or type(error).__name__}\n")
        return 2


def _run(command: str, argv: list[str]) -> int:
    atexit.register(gc.freeze)  # or Python looks through all that Paddle has loaded once more, for 0.3 s at its end
    os.environ.setdefault("GLOG_minloglevel", "2")  # errors of Paddle's C++ side, not its remarks on itself
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # what it cannot decode is told by name, in one line
    for noise in ("No ccache found", "When training, we now always track"):
        warnings.filterwarnings("ignore", message=noise)  # Paddle's, and nothing a user of this command could act on
    parser = argparse.ArgumentParser(prog=_typed(command), description=COMMANDS[command], allow_abbrev=False)
    with contextlib.nullcontext() if "--quiet" in argv else shown(command):  # what it imports takes its time too
        module = importlib.import_module(f"ppcls_compress.commands.{command}")
    module.add_arguments(parser)
    parser.add_argument("--quiet", action="store_true", help="tell only warnings, errors and results")
    parser.add_argument("--json-log", metavar="FILE", help="add what happens to this file, a line of JSON each")
    parser.set_defaults(typed=f"{_typed(command)} {shlex.join(map(hidden, argv))}")
    args, left = parser.parse_known_args(argv)
    if left:
        hint = "; quote a value that has spaces: -o 'Slim.prune={name: fpgm}'" if "-o" in argv else ""
        options = [option for action in parser._actions for option in action.option_strings]
        match = closest(left[0].partition("=")[0], options) if left[0].startswith("-") else None
        near = f"; did you mean {match}?" if match else ""
        sys.stderr.write(f"error: unknown argument {shortened(left[0])}{near}{hint}\n")
        return 2
    with terminable(), reporting(quiet=args.quiet, json_log=args.json_log), _display(module, command):
        if note := paddle_version.check():
            sys.stderr.write(f"note: {note}\n")
        module.run(args)
    return 0


def _display(module: ModuleType, command: str) -> AbstractContextManager[None]:
    """What a terminal shows meanwhile; some commands have a display of their own."""
    return contextlib.nullcontext() if getattr(module, "OWN_DISPLAY", False) else shown(command)


def _typed(command: str) -> str:
    """The command as the user started it, for the line on its usage."""
    started = sys.argv[0]
    if os.path.basename(started) == "__main__.py":
        return f"python -m ppcls_compress {command}"
    if os.path.basename(started) == f"{command}.py":
        return f"python {started}"
    return f"ppcls-compress {command}"


def _command_of(argv: list[str]) -> str | None:
    first = argv[0] if argv else "--help"
    if first.replace("-", "_") in COMMANDS:  # check-configs as well as check_configs
        return first.replace("-", "_")
    if first == "--version":
        sys.stdout.write(f"ppcls-compress {__version__}\n")
        raise SystemExit(0)
    if first in ("-h", "--help"):
        lines = [f"  {name:13} {what}" for name, what in COMMANDS.items()]
        sys.stdout.write("\n".join(["usage: ppcls-compress COMMAND -c config.yaml [options]", "", *lines, ""]))
        raise SystemExit(0)
    sys.stderr.write(f"error: {unknown('command', first, COMMANDS)}\n")
    return None
