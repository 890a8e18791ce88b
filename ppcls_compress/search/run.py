"""The search for the network that keeps a contract: measure, propose, train, halve, decide."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from ppcls_compress import io
from ppcls_compress.config.runs import run_folder
from ppcls_compress.config.schema import Config
from ppcls_compress.engine.logs import logger
from ppcls_compress.errors import ConfigError, NotKeptError, UserError
from ppcls_compress.optim.schedules.decays import ReduceOnPlateau
from ppcls_compress.search import fitting, preparing, rows, space, split
from ppcls_compress.search.board import PASSING, Board, Job
from ppcls_compress.search.final import Outcome, conclude, withdraw
from ppcls_compress.search.rows import LONGER, ROUNDS, Row
from ppcls_compress.search.workshop import LOCK, Workshop

_SLEEP = 2.0
"""Seconds between two looks at what others do."""
OVER = "over"
_NO_LEADER = (
    "waiting: no search has begun in Slim.auto.storage, which has to be the file or database of the process that leads"
)


def lead(workshop: Workshop) -> Outcome:
    """Search, or go on with a search that was stopped, and decide.

    Everything that was measured or trained is kept in the folder of the workshop, and is not repeated.

    Raises:
        NotKeptError: nothing keeps the contract, or nothing can.
        UserError: the configuration, the weights or the storage cannot be used; another process leads this search.
    """
    with _alone(workshop.folder):
        halves = preparing.begin(workshop)
        board = workshop.board()  # a storage that cannot be used is told of before anything is measured
        board.note(OVER, False)
        try:
            ready = preparing.prepare(workshop, *halves)
        except NotKeptError:
            board.note(OVER, True)  # or who helps would wait for ever
            withdraw(workshop)
            raise
        if again := board.retry_passing():
            logger.info("tried again, for what they failed with may have passed: %s", ", ".join(again))
        found = _Search(workshop, ready, board).run()
        board.note(OVER, True)  # there is nothing left to help with, whether the contract is kept or not
        return conclude(workshop, ready, found)


def work(workshop: Workshop) -> int:
    """Do the jobs that the process which leads the search puts up, until it is over; how many were done.

    Raises:
        UserError: the search was not begun, or is another one.
    """
    if not (workshop.folder / "identity.json").exists():
        raise ConfigError(f"--worker: no search was begun in {workshop.folder}; start one without --worker first")
    preparing.check_same(workshop)
    board, done, waits = workshop.board(), 0, False
    while True:
        job, over = board.take(), board.noted(OVER)
        if job is None and over:
            return done
        workshop.check_still(board.name)  # or its training would lie in the folder of the search that has taken over
        if job is not None:
            logger.info("%s: %s", job.name, job.what["title"])
            done, waits = done + workshop.do(board, job), False
        else:
            if not waits:
                logger.info("%s", _NO_LEADER if over is None else "nothing is to be trained now; waiting")
            waits = True
            time.sleep(_SLEEP)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a second process from leading the same search.

    Raises:
        ConfigError: there is one already.
    """
    with open(io.make_folder(folder) / LOCK, "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(f"{folder}: another process leads this search; add --worker to help it") from error
        yield


@dataclass
class _Search:
    """The rounds of one search."""

    workshop: Workshop
    ready: preparing.Ready
    board: Board

    def run(self) -> list[Row]:
        """Every round; the rows of all trained candidates.

        What was spent is counted up to what is begun, so that a search which goes on decides as it did before.
        """
        auto, budget = self.workshop.config.Slim.auto, self.workshop.config.Slim.auto.budget
        history: list[tuple[Mapping[str, Any], float]] = []
        seed = split.seed_of(self.workshop.config)
        proposals = space.Proposals(seed, self.ready.needed, mixed=bool(self.ready.slow))
        distributions, slot, seconds = proposals.distributions(), 0, 0.0
        for size in space.generations(budget.trials):
            if seconds / 3600 > budget.hours / 2:
                logger.warning("half of Slim.auto.budget.hours is gone after %d candidates; no more are begun", slot)
                break
            names = []
            for choices, candidate in proposals.next(history, size):
                names.append(self._put(slot, 0, candidate, choices, distributions))
                slot += 1
            done = self._finished(names)
            history += [(choices, rows.loss(row, auto)) for choices, row in done]
            seconds += sum(row.seconds for _, row in done)
        current = self._of_round(0)
        for number in range(1, ROUNDS):
            going = rows.going_on(current, auto)
            if number > 1 and seconds / 3600 > budget.hours * 0.75:
                going = going[:1]
            current = [row for _, row in self._finished([self._longer(row, number) for row in going])]
            seconds += sum(row.seconds for row in current)
        return self._rows()

    def _put(self, slot: int, number: int, candidate: space.Candidate, choices: Any, distributions: Any) -> str:
        name = f"{slot:03}-{number}"
        if name in {job.name for job in self.board.jobs()}:
            return name
        what: dict[str, Any] = {"slim": None}
        try:
            candidate, what["slim"] = fitting.fitted(self.ready, candidate)
        except UserError as error:
            what["impossible"] = str(error)
        what |= {"slot": slot, "round": number, "title": candidate.title, "choices": dict(choices)}
        what |= {"epochs": self.workshop.config.Slim.auto.budget.epochs, "rate": candidate.rate}
        what |= {"candidate": asdict(candidate), "by_hand": candidate.by_hand}
        self.board.put(name, what, choices, distributions)
        return name

    def _longer(self, row: Row, number: int) -> str:
        """The same candidate again, from the dense network, for longer."""
        name = f"{row.slot:03}-{number}"
        before = self._job(f"{row.slot:03}-0").what
        epochs = self.workshop.config.Slim.auto.budget.epochs * LONGER**number
        self.board.put(name, {**before, "round": number, "epochs": epochs}, {}, {})
        return name

    def _finished(self, names: Sequence[str]) -> list[tuple[Mapping[str, Any], Row]]:
        """Choices and rows of the jobs of these names, once all are done, by this process or by others."""
        while any(self._job(name).state != "done" for name in names):
            for lost in self.board.retry_lost():
                self.board.finish(lost, {"failed": f"its worker ended {lost.tries} times", PASSING: True})
            job = self.board.take(leading=True)
            if job is None:
                time.sleep(_SLEEP)
                continue
            self._tell(job)
            if not self.workshop.do(self.board, job):
                continue
            row = rows.row_of(self._job(job.name), self.ready.dense_costs)
            logger.info("%s: %s", row.name, told(row, self.workshop.config.Slim.auto.cost))
        jobs = [self._job(name) for name in names]
        return [(job.what["choices"], rows.row_of(job, self.ready.dense_costs)) for job in jobs]

    def _tell(self, job: Job) -> None:
        """What runs now, how far the search is, the best so far, and how long it may take."""
        auto, what = self.workshop.config.Slim.auto, job.what
        best = rows.ranked([row for row in self._rows() if row.drop and not rows.over(row, auto)], auto)
        logger.info(
            "%s, round %d of %d, %s: %s | %d trained, best: %s | %s",
            job.name,
            what["round"] + 1,
            ROUNDS,
            "1 epoch" if what["epochs"] == 1 else f"{what['epochs']} epochs",
            what["title"],
            len(self._rows()),
            f"{best[0].name}, {told(best[0], auto.cost)}" if best else "none yet",
            self._left(),
        )

    def _left(self) -> str:
        """Time for what is still to be trained, exported and judged, as long for each as it took so far."""
        over = [job for job in self.board.jobs() if job.state == "done"]
        timed = [job for job in over if "seconds" in job.result]
        if not timed:
            return "time left not known yet"
        training = sum(job.result.get("training", job.result["seconds"]) for job in timed)
        pace = training / sum(job.what["epochs"] for job in timed)
        besides = (sum(job.result["seconds"] for job in timed) - training) / len(timed)
        budget = self.workshop.config.Slim.auto.budget
        epochs, jobs, count = 0, 0, budget.trials
        for number in range(ROUNDS):
            epochs += count * budget.epochs * LONGER**number
            jobs += count
            count = min(count, -(-count // LONGER) + len(space.BY_HAND))
        left = pace * max(0, epochs - sum(job.what["epochs"] for job in over)) + besides * max(0, jobs - len(over))
        return f"about {timedelta(seconds=round(left))} left"

    def _job(self, name: str) -> Job:
        return next(job for job in self.board.jobs() if job.name == name)

    def _of_round(self, number: int) -> list[Row]:
        return [row for row in self._rows() if row.round == number]

    def _rows(self) -> list[Row]:
        jobs = sorted((job for job in self.board.jobs() if job.state == "done"), key=lambda job: job.name)
        return [rows.row_of(job, self.ready.dense_costs) for job in jobs]


def told(row: Row, cost: str) -> str:
    """A row for a line of the log."""
    if row.drop is None:
        return row.lost
    return f"{row.drop.points:+.2f} points lost, {row.shares[cost]:.1%} of the {cost}"


def workshop_of(config: Config, base: Mapping[str, Any], *, profile: str | None = None) -> Workshop:
    """The workshop in `<output_dir>/<Arch.name>/compress`.

    Args:
        profile: of another machine, whose latencies count.

    Raises:
        ConfigError: answers of such networks are not judged.
    """
    if config.Global.eval_mode != "classification" or config.Arch.gives_features:
        raise ConfigError("Slim.auto: judges classification; Global.eval_mode or Arch.name is of another kind")
    if config.Arch.together is not None:
        raise ConfigError("Slim.auto: takes one network; DistillationModel trains several")
    if any(isinstance(each.lr, ReduceOnPlateau) for each in config.Optimizer):
        raise ConfigError(
            "Optimizer.lr.name: ReduceOnPlateau lowers the rate by what evaluations find, and the trainings of "
            "Slim.auto have none; choose a schedule that goes by epochs, such as Cosine"
        )
    for key in ("early_stopping", "checkpoints"):
        if getattr(config.Global, key) is not None:
            raise ConfigError(
                f"Global.{key}: does not go with Slim.auto, whose trainings start from the dense weights and end "
                "without evaluations; leave it out"
            )
    return Workshop(
        run_folder(config).resolve() / "compress", base, config, Path(profile).resolve() if profile else None
    )
