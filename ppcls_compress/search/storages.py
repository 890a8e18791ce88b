"""Where the jobs of a search are kept: a storage of Optuna's, opened by any number of processes, and what it tells."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ppcls_compress.errors import ConfigError, MissingDependencyError, UserError, one_line
from ppcls_compress.passwords import secrets_of

_DRIVERS = {"psycopg": "'psycopg[binary]'", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
"""What brings the driver of a database, where it is called otherwise."""
_TRIES = 20
"""How often a database is opened in which others make the same tables just then."""
_PAUSE = 0.5
"""Seconds between two of these, at most."""
_BUSY = 120.0
"""Seconds that a process waits for others which write into the same file."""


def opened(storage: str) -> Any:
    """A storage of Optuna's.

    Args:
        storage: a URL that Optuna takes, or the file of a journal (`*.journal`).

    Raises:
        Exception: whatever a driver raises, see `as_one_line`.
    """
    for _ in range(_TRIES - 1):
        try:
            return _opened(storage)
        except Exception as error:
            if not _made_by_another(error):
                raise
            time.sleep(random.uniform(0.0, _PAUSE))
    return _opened(storage)


def _opened(storage: str) -> Any:
    if storage.endswith(".journal"):
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        Path(storage).parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(storage))
    from optuna.storages import RDBStorage
    from sqlalchemy.engine import make_url

    url = make_url(storage)
    alone = not url.database or ":memory:" in url.database  # no other process sees it, and it goes with its connection
    if url.get_backend_name() != "sqlite" or alone:
        return RDBStorage(storage)
    return _one_at_a_time(RDBStorage(storage, engine_kwargs={"connect_args": {"timeout": _BUSY}}))


def _one_at_a_time(storage: Any) -> Any:
    """The storage of an SQLite file, whose transactions begin with the right to write.

    Optuna reads who has a trial and then writes it, and locks a row between the two, which SQLite has no such thing as:
    two processes took one trial. As a transaction otherwise begins with its first change, both had read before.
    """
    from sqlalchemy import event

    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the module's own way of beginning transactions

    def begun(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(storage.engine, "connect", connected)
    event.listen(storage.engine, "begin", begun)
    storage.engine.dispose()  # of the connection that was made without
    return storage


def _made_by_another(error: BaseException) -> bool:
    """Whether a table or row was there that had not been a moment ago."""
    from sqlalchemy.exc import IntegrityError

    return any(isinstance(each, IntegrityError) or "already exists" in str(each) for each in _causes(error))


@contextmanager
def as_one_line(storage: str) -> Iterator[None]:
    """Raise what any database says as an error of one line that names the key.

    Raises:
        MissingDependencyError: the driver of a database is not installed.
        ConfigError: the storage cannot be used.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # as many kinds as there are databases and drivers
        driver = _lacking(error)
        if driver is not None:
            raise MissingDependencyError(
                f"Slim.auto.storage: the driver of this database, {driver}, is not installed; pip install "
                f"{_DRIVERS.get(driver, driver)} brings it"
            ) from None
        hint = "expected a URL such as postgresql://user@host/name, or the file of a journal, DIR/study.journal"
        told = harmless(error, storage)
        # What the driver says besides may hold the password, and a traceback would show it.
        raise ConfigError(f"Slim.auto.storage: cannot be used: {told}; {hint}") from None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that it comes from."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _lacking(error: BaseException) -> str | None:
    """The module whose absence an error comes from."""
    names = (each.name for each in _causes(error) if isinstance(each, ModuleNotFoundError) and each.name)
    return next((name.partition(".")[0] for name in names), None)


def harmless(error: BaseException, storage: str) -> str:
    """What an error says, by the driver where it is of one, without the secrets of a storage's URL."""
    drivers = (each.orig for each in _causes(error) if getattr(each, "orig", None) is not None)
    said = next(drivers, error)
    text = one_line(f"{type(said).__name__}: {said}", 300)
    for secret in secrets_of(storage):
        text = text.replace(secret, "***")
    return text
