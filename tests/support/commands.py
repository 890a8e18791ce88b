"""Commands as a user gives them, and what they say when they fail."""

from ppcls_compress.cli import main

QUANT = "Slim.quant={name: pact}"


def call(command, config, *overrides, arguments=()):
    """The exit code of a command with `-c config` and one `-o` per override."""
    return main([command, *arguments, "-c", str(config), *(part for text in overrides for part in ("-o", text))])


def errors(capsys):
    """The lines of error that were printed."""
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
