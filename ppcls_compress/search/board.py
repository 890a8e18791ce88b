"""The jobs of a search in Optuna's storage, shared by any number of processes: who takes which, and what came of it.

A job is an Optuna trial: WAITING, RUNNING at one worker, then COMPLETE. A worker tells every few seconds that it lives;
one that does not any more loses its trial, which FAILs and is put up again.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ppcls_compress.deploy.extras import require
from ppcls_compress.errors import ConfigError, UserError, first_line

BEAT = 10.0
"""Seconds between two signs of life."""
PATIENCE = 120.0
"""Seconds without one after which a worker on another machine counts as dead."""
MOST_TRIES = 3
NEEDS = ("optuna",)
FAILED = 1e6
"""The value of a trial that failed, among drops in points."""


@dataclass(frozen=True)
class Job:
    """What is to be done, and what came of it.

    Attributes:
        name: unique in a study.
        what: plain JSON, as it was put up.
        state: `waiting`, `running` or `done`.
        number: of the trial.
        result: plain JSON; None before it is done.
        tries: how many workers died with it.
        owner: of a running one: host, process and its start, see `_me`.
        beat: how often the owner has told that it lives.
    """

    name: str
    what: Mapping[str, Any]
    state: str
    number: int
    result: Mapping[str, Any] | None = None
    tries: int = 0
    owner: str = ""
    beat: int = 0


@dataclass
class _Watch:
    """Since when, by this process' clock, a worker has not told that it lives."""

    beats: dict[int, tuple[int, float]] = field(default_factory=dict)

    def silent(self, job: Job, now: float) -> float:
        """Seconds since the beat of a job last changed."""
        beat, since = self.beats.get(job.number, (job.beat, now))
        if beat != job.beat:
            since = now
        self.beats[job.number] = (job.beat, since)
        return now - since


class Board:
    """The jobs of one study.

    Args:
        storage: a URL that Optuna takes, or the file of a journal (`*.journal`).
        name: of the study.

    Raises:
        MissingDependencyError: Optuna is not installed.
        UserError: the storage cannot be used.
    """

    def __init__(self, storage: str, name: str) -> None:
        require(NEEDS, "search")
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna, self._watch = optuna, _Watch()
        with _told(storage):
            self._storage = _opened(storage)
            self._study = optuna.create_study(storage=self._storage, study_name=name, load_if_exists=True)
            self._id = self._storage.get_study_id_from_name(name)

    def note(self, key: str, value: Any) -> None:
        """Keep something for all who work on the study."""
        self._study.set_user_attr(key, value)

    def noted(self, key: str) -> Any:
        """What `note` kept; None where there is nothing."""
        return self._study.user_attrs.get(key)

    def put(self, name: str, what: Mapping[str, Any], choices: Mapping[str, Any], space: Mapping[str, Any]) -> None:
        """Put up a job, unless it is there already.

        Args:
            choices: what was chosen, for whoever looks at the study with Optuna's tools.
            space: what it was chosen from.
        """
        if name not in {job.name for job in self.jobs()}:
            self._add(name, what, choices, space, tries=0)

    def _add(self, name: str, what: Any, choices: Any, space: Any, *, tries: int) -> None:
        trial = self._optuna.trial.create_trial(
            state=self._optuna.trial.TrialState.WAITING,
            params=dict(choices),
            distributions=dict(space),
            user_attrs={"job": name, "what": dict(what), "tries": tries},
        )
        self._study.add_trial(trial)

    def jobs(self) -> list[Job]:
        """All jobs, in the order in which they were put up; of one that was put up again, the last."""
        found: dict[str, Job] = {}
        for trial in self._study.get_trials(deepcopy=False):
            job = self._job(trial)
            if job is not None:
                found[job.name] = job
        return list(found.values())

    def _job(self, trial: Any) -> Job | None:
        states = self._optuna.trial.TrialState
        state = {states.WAITING: "waiting", states.RUNNING: "running", states.COMPLETE: "done"}.get(trial.state)
        attrs = trial.user_attrs
        if state is None or "job" not in attrs:
            return None
        told = {key: attrs[key] for key in ("result", "tries", "owner", "beat") if key in attrs}
        return Job(attrs["job"], attrs["what"], state, trial.number, **told)

    def take(self) -> Job | None:
        """The first job that waits, which no other process takes then; None where none waits."""
        for job in self.jobs():
            if job.state == "waiting" and self._claimed(job):
                self._set(job, "owner", _me())
                return job
        return None

    def _claimed(self, job: Job) -> bool:
        exceptions, running = self._optuna.exceptions, self._optuna.trial.TrialState.RUNNING
        try:
            return self._storage.set_trial_state_values(self._trial(job), running)
        except exceptions.UpdateFinishedTrialError:
            return False

    def finish(self, job: Job, result: Mapping[str, Any]) -> None:
        """Keep what came of a job; nothing happens where it was taken from this process meanwhile."""
        complete = self._optuna.trial.TrialState.COMPLETE
        try:
            self._set(job, "result", dict(result))
            points = result["drop"]["points"] if "drop" in result else FAILED
            self._storage.set_trial_state_values(self._trial(job), complete, [points])
        except self._optuna.exceptions.UpdateFinishedTrialError:
            return

    @contextmanager
    def alive(self, job: Job, every: float = BEAT) -> Iterator[None]:
        """Tell during the block that this process lives."""
        over = threading.Event()

        def beat() -> None:
            count = 0
            while not over.wait(every):
                count += 1
                try:
                    self._set(job, "beat", count)
                except Exception:  # whatever a storage raises that is away for a moment; silence tells the others
                    continue

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def retry_lost(self, *, patience: float = PATIENCE, now: Callable[[], float] = time.monotonic) -> list[Job]:
        """Put up again what dead workers had taken, and give those that were lost too often.

        Only the process that leads a search may do this.
        """
        given_up = []
        for job in self.jobs():
            if job.state != "running" or not (_dead(job.owner) or self._watch.silent(job, now()) > patience):
                continue
            trial = self._storage.get_trial(self._trial(job))
            try:
                self._storage.set_trial_state_values(self._trial(job), self._optuna.trial.TrialState.FAIL)
            except self._optuna.exceptions.UpdateFinishedTrialError:
                continue
            self._add(job.name, job.what, trial.params, trial.distributions, tries=job.tries + 1)
            if job.tries + 1 >= MOST_TRIES:
                given_up.append(next(item for item in self.jobs() if item.name == job.name))
        return given_up

    def _trial(self, job: Job) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, job.number)

    def _set(self, job: Job, key: str, value: Any) -> None:
        self._storage.set_trial_user_attr(self._trial(job), key, value)


def _opened(storage: str) -> Any:
    if storage.endswith(".journal"):
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        Path(storage).parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(storage))
    from optuna.storages import RDBStorage

    return RDBStorage(storage)


@contextmanager
def _told(storage: str) -> Iterator[None]:
    """What any database says, as one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # as many kinds as there are databases and drivers
        hint = "expected a URL such as postgresql://user@host/name, or the file of a journal, DIR/study.journal"
        raise ConfigError(f"Slim.auto.storage: cannot be used: {first_line(error)}; {hint}") from error


def _me() -> str:
    return f"{socket.gethostname()} {os.getpid()} {_start_of(os.getpid())}"


def _start_of(process: int) -> str:
    """When a process of this machine began, in ticks since the machine did; empty where there is none."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]


def _dead(owner: str) -> bool:
    """Whether it ran on this machine and does no more."""
    host, _, rest = owner.partition(" ")
    if host != socket.gethostname():
        return False
    process, _, start = rest.partition(" ")
    return _start_of(int(process)) != start
