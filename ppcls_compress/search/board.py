"""The jobs of a search in Optuna's storage, shared by any number of processes: who takes which, and what came of it.

A job is an Optuna trial: WAITING, RUNNING at one worker, then COMPLETE. A worker tells every few seconds that it lives;
one that does not any more loses its trial, which FAILs and is put up again.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ppcls_compress.deploy.extras import require
from ppcls_compress.engine.logs import logger
from ppcls_compress.errors import UserError
from ppcls_compress.search import owners, storages

BEAT = 10.0
"""Seconds between two signs of life."""
PATIENCE = 120.0
"""Seconds without one after which a worker on another machine counts as dead."""
AGAIN = 5.0
"""Seconds between two questions to a storage that is away."""
MOST_TRIES = 3
NEEDS = ("optuna",)
FAILED = 1e6
"""The value of a trial that failed, among drops in points."""
PASSING = "passing"
"""Of a result: the failure may pass, see `passing.may_pass`."""


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
        owner: of a running one: host, process and its start, see `owners.me`.
        leading: whether the owner leads the search.
        beat: how often the owner has told that it lives.
        elsewhere: where it is done after a worker that may only have been silent, and may write there still.
    """

    name: str
    what: Mapping[str, Any]
    state: str
    number: int
    result: Mapping[str, Any] | None = None
    tries: int = 0
    owner: str = ""
    leading: bool = False
    beat: int = 0
    elsewhere: str = ""

    @property
    def folder(self) -> str:
        """Where it is done."""
        return self.elsewhere or self.name


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


def _patiently(method: Callable[..., Any]) -> Callable[..., Any]:
    """Ask a storage that is away again, for as long as others wait for a sign of life."""

    @functools.wraps(method)
    def asked(self: Board, *args: Any, **kwargs: Any) -> Any:
        begun = time.monotonic()
        while True:
            try:
                return method(self, *args, **kwargs)
            except self.away as error:
                told = storages.harmless(error, self.storage)
                if time.monotonic() - begun > PATIENCE:
                    raise UserError(
                        f"Slim.auto.storage: does not answer: {told}; the same command goes on when it does"
                    ) from None
                logger.warning("Slim.auto.storage: does not answer, and is asked again: %s", told)
                time.sleep(AGAIN)

    return asked


class Board:
    """The jobs of one study.

    A storage that is away for a moment is asked again, for two minutes.

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
        from sqlalchemy.exc import InterfaceError, OperationalError

        self.storage, self.name = storage, name
        self.away = (optuna.exceptions.StorageInternalError, OperationalError, InterfaceError, OSError)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna, self._watch = optuna, _Watch()
        with storages.as_one_line(storage):
            self._storage = storages.opened(storage)
            self._study = self._begun(name)
            self._id = self._storage.get_study_id_from_name(name)

    @_patiently
    def _begun(self, name: str) -> Any:
        return self._optuna.create_study(storage=self._storage, study_name=name, load_if_exists=True)

    @_patiently
    def note(self, key: str, value: Any) -> None:
        """Keep something for all who work on the study."""
        self._study.set_user_attr(key, value)

    @_patiently
    def noted(self, key: str) -> Any:
        """What `note` kept; None where there is nothing."""
        return self._study.user_attrs.get(key)

    @_patiently
    def put(self, name: str, what: Mapping[str, Any], choices: Mapping[str, Any], space: Mapping[str, Any]) -> None:
        """Put up a job, unless it is there already.

        Args:
            choices: what was chosen, for whoever looks at the study with Optuna's tools.
            space: what it was chosen from.
        """
        if name not in {job.name for job in self.jobs()}:
            self._add(name, what, choices, space, tries=0)

    def _add(self, name: str, what: Any, choices: Any, space: Any, *, tries: int, elsewhere: str = "") -> None:
        trial = self._optuna.trial.create_trial(
            state=self._optuna.trial.TrialState.WAITING,
            params=dict(choices),
            distributions=dict(space),
            user_attrs={"job": name, "what": dict(what), "tries": tries, "elsewhere": elsewhere},
        )
        self._study.add_trial(trial)

    @_patiently
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
        kept = ("result", "tries", "owner", "leading", "beat", "elsewhere")
        told = {key: attrs[key] for key in kept if key in attrs}
        return Job(attrs["job"], attrs["what"], state, trial.number, **told)

    @_patiently
    def take(self, *, leading: bool = False) -> Job | None:
        """The first job that waits, which no other process takes then; None where none waits.

        Args:
            leading: whether this process leads the search.
        """
        for job in self.jobs():
            if job.state == "waiting" and self._claimed(job):
                self._set(job, "leading", leading)
                self._set(job, "owner", owners.me())
                return job
        return None

    def _claimed(self, job: Job) -> bool:
        exceptions, running = self._optuna.exceptions, self._optuna.trial.TrialState.RUNNING
        try:
            return self._storage.set_trial_state_values(self._trial(job), running)
        except exceptions.UpdateFinishedTrialError:
            return False

    @_patiently
    def finish(self, job: Job, result: Mapping[str, Any]) -> bool:
        """Keep what came of a job; whether it was kept, for nothing happens where it was taken over meanwhile."""
        complete = self._optuna.trial.TrialState.COMPLETE
        try:
            self._set(job, "result", dict(result))
            points = result["drop"]["points"] if "drop" in result else FAILED
            self._storage.set_trial_state_values(self._trial(job), complete, [points])
        except self._optuna.exceptions.UpdateFinishedTrialError:
            return False
        return True

    @contextmanager
    def alive(self, job: Job, every: float = BEAT) -> Iterator[threading.Event]:
        """Tell during the block that this process lives; what it gives is set when the job was taken over."""
        over, lost = threading.Event(), threading.Event()

        def beat() -> None:
            count = 0
            while not over.wait(every):
                count += 1
                try:
                    self._set(job, "beat", count)
                except self._optuna.exceptions.UpdateFinishedTrialError:
                    lost.set()
                    return
                except Exception:  # whatever a storage raises that is away for a moment; silence tells the others
                    continue

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield lost
        finally:
            over.set()
            thread.join()

    @_patiently
    def retry_lost(self, *, patience: float = PATIENCE, now: Callable[[], float] = time.monotonic) -> list[Job]:
        """Put up again what dead workers had taken, and give those that were lost too often.

        Only the process that leads a search may do this. What that process itself was killed with is lost to nobody.
        """
        given_up = []
        for job in self.jobs():
            if job.state != "running":
                continue
            dead = owners.ended(job.owner)
            if not dead and self._watch.silent(job, now()) <= patience:
                continue
            trial = self._storage.get_trial(self._trial(job))
            try:
                self._storage.set_trial_state_values(self._trial(job), self._optuna.trial.TrialState.FAIL)
            except self._optuna.exceptions.UpdateFinishedTrialError:
                continue
            tries = job.tries + (not job.leading)
            elsewhere = job.elsewhere if dead else f"{job.name}.{job.number}"
            self._add(job.name, job.what, trial.params, trial.distributions, tries=tries, elsewhere=elsewhere)
            if tries >= MOST_TRIES:
                given_up.append(next(item for item in self.jobs() if item.name == job.name))
        return given_up

    @_patiently
    def retry_passing(self) -> list[str]:
        """Put up again what failed for a reason that may have passed; the names of these jobs.

        Only the process that leads a search may do this, before anything else.
        """
        names = []
        for job in self.jobs():
            if job.state == "done" and job.result.get(PASSING):
                trial = self._storage.get_trial(self._trial(job))
                self._add(job.name, job.what, trial.params, trial.distributions, tries=0, elsewhere=job.elsewhere)
                names.append(job.name)
        return names

    def _trial(self, job: Job) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, job.number)

    def _set(self, job: Job, key: str, value: Any) -> None:
        self._storage.set_trial_user_attr(self._trial(job), key, value)
