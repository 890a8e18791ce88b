"""Commands as a user gives them, and what they say when they fail."""

from ppcls_compress.cli import main

QUANT = "Slim.quant={name: pact, asymmetric: false}"
"""Grids that every format holds."""


_LEAVE_PAGES = ("train", "export_model", "compress")


def call(command, config, *overrides, arguments=(), page=False):
    """The exit code of a command with `-c config` and one `-o` per override; with the page at its end, if `page`."""
    without = [] if page or command not in _LEAVE_PAGES else ["--no-report"]
    given = [part for text in overrides for part in ("-o", text)]
    return main([command, *arguments, *without, "-c", str(config), *given])


def errors(capsys):
    """The lines of error that were printed."""
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
