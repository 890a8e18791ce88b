"""The page that `train`, `export_model` and `compress` leave at their end, from what they have kept; see `report`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ppcls_compress.commands.report import PAGE
from ppcls_compress.errors import one_line

if TYPE_CHECKING:
    from ppcls_compress.report.page.write import Page


def add_report_argument(parser: argparse.ArgumentParser) -> None:
    """`--no-report`."""
    parser.add_argument("--no-report", action="store_true", help=f"leave out the page {PAGE} at the end")


def leave_page(args: argparse.Namespace, folder: Path, page: Callable[[], Page]) -> None:
    """Write `PAGE` into a folder and say where it is; what goes wrong with it is a warning, for the work is done.

    Args:
        args: of the command.
        folder: of what it has made.
        page: what it tells; called only where a page is wanted.
    """
    if args.no_report:
        return
    from ppcls_compress.engine.logs import logger
    from ppcls_compress.engine.progress import step
    from ppcls_compress.report.page.write import write

    file = folder / PAGE
    try:
        with step("writing the page"):
            write(file, page())
    except Exception as error:  # whatever it is, hours of work do not end in a traceback for a page
        logger.warning("no page %s: %s", file, one_line(error))
    else:
        logger.info("what came of it, as a page: %s", file)
