"""What the package starts in processes of its own, in this one: a process takes seconds to start."""

import os
import runpy
import sys
from unittest import mock

from ppcls_compress.deploy import fresh
from ppcls_compress.errors import UserError, first_line


def modules_run_here(monkeypatch):
    """Let `fresh.run_module` run modules here; those that end with an error fail as they would elsewhere."""
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None)
    monkeypatch.setattr(fresh, "run_module", _run)


def _run(module, *arguments, **_):
    with mock.patch.object(sys, "argv", [module, *map(str, arguments)]):
        try:
            runpy.run_module(module, run_name="__main__")
        except UserError as error:
            raise UserError(f"{module}: failed: {error}") from error
        except Exception as error:
            raise UserError(f"{module}: failed: {first_line(error)}") from error
