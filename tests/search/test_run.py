from itertools import pairwise
from types import SimpleNamespace

import pytest
from support.project import make_project

pytest.importorskip("optuna")

from ppcls_compress import io
from ppcls_compress.config.auto import Auto
from ppcls_compress.config.load import load_config, read_overridden
from ppcls_compress.errors import NotKeptError, UserError
from ppcls_compress.search import board, fitting, owners, preparing, rows, run, split
from ppcls_compress.search.judge import Costs
from ppcls_compress.search.workshop import Workshop

AUTO = Auto(max_drop=1.0, target={"bytes": 0.5}, budget={"trials": 6, "epochs": 1})
DENSE = Costs(1000, 1000, 1000)


class Shop:
    """Trains nothing: what a candidate loses is a number that follows from its title and how long it is trained."""

    def __init__(self, dies_at=None, full=(), auto=AUTO):
        self.config = SimpleNamespace(Slim=SimpleNamespace(auto=auto), Global=SimpleNamespace(seed=3))
        self.done, self.dies_at, self.full = [], dies_at, full

    def do(self, jobs, job):
        if len(self.done) == self.dies_at:
            raise KeyboardInterrupt
        self.done.append(job.name)
        if "impossible" in job.what:
            return jobs.finish(job, {"failed": job.what["impossible"]})
        if job.name in self.full:
            return jobs.finish(job, {"failed": "No space left on device", "passing": True})
        points = (sum(map(ord, job.what["title"])) % 17) / job.what["epochs"]
        cost = {"bytes": 490, "params": 1000, "flops": 1000, "latency": None}
        drop = {"points": points, "bound": points + 0.5, "images": 100}
        return jobs.finish(job, {"artifact": "a", "drop": drop, "cost": cost, "seconds": 1.0})


def slim_of(candidate):
    if candidate.spared == 3:
        raise UserError("no such layers")
    return {}


SEEN = SimpleNamespace(Slim=SimpleNamespace(auto=AUTO))
NEEDED = {"pact": 0.6, "lsq": 0.6, "ptq": 0.6, "float": 0.4}
READY = SimpleNamespace(
    needed=NEEDED, dense_costs=DENSE, slim_of=slim_of, seen=SEEN, slow=(), workshop=SimpleNamespace(timed=False)
)


@pytest.fixture(scope="module", autouse=True)
def costs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "expected", lambda ready, section: 0.49)
        yield


def searched(storage, shop):
    jobs = board.Board(str(storage), "one")
    jobs.retry_passing()
    return run._Search(shop, READY, jobs).run()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    shop = Shop()
    return searched(tmp_path_factory.mktemp("search") / "study.journal", shop), shop.done


def test_each_round_trains_a_third_and_a_recipe_by_hand_for_three_times_as_long(undisturbed):
    found, done = undisturbed
    assert sorted(done) == [row.name for row in found]
    rounds = [[row for row in found if row.round == number] for number in range(3)]
    for before, after in pairwise(rounds):
        assert {row.slot for row in after} == {row.slot for row in rows.going_on(before, AUTO)}
        assert rows.ranked(before, AUTO)[0].slot in {row.slot for row in after}
        assert any(row.by_hand for row in after)
    assert len(rounds[0]) == 6 > len(rounds[1]) >= len(rounds[2]) > 0


def test_a_candidate_that_cannot_be_made_is_a_row_with_its_reason(undisturbed):
    failed = [row for row in undisturbed[0] if row.drop is None]
    assert all(row.lost == "failed: no such layers" and "3 layers float" in row.title for row in failed)


@pytest.mark.parametrize("moment", [0, 3, 6, 8])
def test_a_search_that_was_killed_goes_on_to_the_same_end(tmp_path, monkeypatch, undisturbed, moment):
    with monkeypatch.context() as patch:
        patch.setattr(owners, "me", lambda: f"{owners._here()} 999999999 1")  # which runs no more
        first = Shop(dies_at=moment)
        with pytest.raises(KeyboardInterrupt):
            searched(tmp_path / "study.journal", first)
    second = Shop()
    assert searched(tmp_path / "study.journal", second) == undisturbed[0]
    assert sorted(first.done + second.done) == sorted(undisturbed[1])


@pytest.mark.parametrize(("seconds", "moment"), [(5, 3), (11, 9)], ids=["half of the time", "three quarters"])
def test_what_time_allows_is_decided_alike_when_a_search_goes_on(tmp_path, monkeypatch, seconds, moment):
    auto = AUTO.model_copy(update={"budget": AUTO.budget.model_copy(update={"hours": seconds / 3600})})
    whole = Shop(auto=auto)
    undisturbed = searched(tmp_path / "undisturbed.journal", whole)
    assert moment < len(whole.done)
    with monkeypatch.context() as patch:
        patch.setattr(owners, "me", lambda: f"{owners._here()} 999999999 1")
        with pytest.raises(KeyboardInterrupt):
            searched(tmp_path / "study.journal", Shop(dies_at=moment, auto=auto))
    assert searched(tmp_path / "study.journal", Shop(auto=auto)) == undisturbed


def test_however_often_its_leader_is_killed_a_candidate_is_trained(tmp_path, monkeypatch, undisturbed):
    with monkeypatch.context() as patch:
        patch.setattr(owners, "me", lambda: f"{owners._here()} 999999999 1")
        for _ in range(board.MOST_TRIES + 2):
            with pytest.raises(KeyboardInterrupt):
                searched(tmp_path / "study.journal", Shop(dies_at=0))
    assert searched(tmp_path / "study.journal", Shop()) == undisturbed[0]


def test_what_failed_for_a_full_disk_is_trained_when_the_search_goes_on(tmp_path, undisturbed):
    first, second = Shop(full={"000-0", "003-0"}), Shop()
    rows = searched(tmp_path / "study.journal", first)
    assert {row.name for row in rows if row.passing} == {"000-0", "003-0"}
    again = {row.name: row for row in searched(tmp_path / "study.journal", second)}
    assert {"000-0", "003-0"} <= set(second.done)
    assert not any(row.passing for row in again.values())
    assert again["000-0"] == next(row for row in undisturbed[0] if row.name == "000-0")


def test_two_processes_do_not_lead_one_search(tmp_path):
    with run._alone(tmp_path), pytest.raises(UserError, match="add --worker to help it"), run._alone(tmp_path):
        pass


def test_time_left_knows_what_takes_as_long_whatever_the_epochs():
    found = []
    search = run._Search(Shop(), READY, SimpleNamespace(jobs=lambda: found))
    assert search._left() == "time left not known yet"
    took = {"seconds": 40.0, "training": 4.0}
    found += [SimpleNamespace(state="done", what={"epochs": 1}, result=result) for result in (took, {"failed": "NaN"})]
    # 6 candidates of one epoch, 5 of three, 5 of nine, two of which are over: 64 epochs of 4 s, 14 exports of 36 s.
    assert search._left() == "about 0:12:40 left"
    took.pop("training")
    assert search._left() == "about 0:42:40 left"


def test_a_worker_of_no_search_is_told_so(tmp_path):
    with pytest.raises(UserError, match="--worker: no search was begun"):
        run.work(SimpleNamespace(folder=tmp_path))


@pytest.mark.parametrize("when", ["before anything is trained", "at the end"])
def test_workers_are_told_that_a_search_is_over_where_nothing_keeps_the_contract(tmp_path, monkeypatch, when):
    def refused(*_):
        raise NotKeptError("none keeps the contract")

    shop = Shop()
    shop.folder, shop.board = tmp_path, lambda: board.Board(str(tmp_path / "study.journal"), "one")
    (tmp_path / "result").mkdir()  # of the same contract with a larger max_drop
    monkeypatch.setattr(preparing, "begin", lambda workshop: (SEEN, SEEN))
    monkeypatch.setattr(preparing, "prepare", refused if when.startswith("before") else lambda *_: READY)
    monkeypatch.setattr(run, "conclude", refused)
    with pytest.raises(NotKeptError):
        run.lead(shop)
    assert shop.board().noted(run.OVER) is True
    assert (tmp_path / "result").exists() == (when == "at the end")  # where `conclude` withdraws it


def test_a_storage_that_cannot_be_used_is_told_before_anything_is_measured(tmp_path, monkeypatch):
    def unusable():
        raise UserError("Slim.auto.storage: cannot be used")

    monkeypatch.setattr(preparing, "begin", lambda workshop: (SEEN, SEEN))
    monkeypatch.setattr(preparing, "prepare", None)
    with pytest.raises(UserError, match="storage: cannot be used"):
        run.lead(SimpleNamespace(folder=tmp_path, board=unusable))


@pytest.mark.parametrize("led", [False, True])
def test_a_worker_tells_what_it_waits_for_and_ends_when_the_search_gives_way(tmp_path, monkeypatch, caplog, led):
    shop = Workshop(tmp_path, {}, SimpleNamespace(Slim=SimpleNamespace(auto=AUTO)))
    io.write_json(tmp_path / "identity.json", {"study": "one"})
    if led:
        shop.board().note(run.OVER, False)
    monkeypatch.setattr(preparing, "check_same", lambda workshop: None)
    monkeypatch.setattr(run.time, "sleep", lambda _: io.write_json(tmp_path / "identity.json", {"study": "two"}))
    monkeypatch.setattr(run.logger, "propagate", True)
    with caplog.at_level("INFO"), pytest.raises(UserError, match="has given way to another one"):
        run.work(shop)
    (told,) = [record.getMessage() for record in caplog.records if "waiting" in record.getMessage()]
    assert ("no search has begun in Slim.auto.storage" in told) is not led


def test_a_worker_trains_nothing_in_the_folder_of_a_search_that_has_taken_over(tmp_path, monkeypatch):
    shop = Workshop(tmp_path, {}, SimpleNamespace(Slim=SimpleNamespace(auto=AUTO)))
    io.write_json(tmp_path / "identity.json", {"study": "one"})
    left = shop.board()
    left.put("000-0", {"title": "of the search before"}, {}, {})
    monkeypatch.setattr(Workshop, "board", lambda _: left)
    monkeypatch.setattr(preparing, "check_same", lambda _: io.write_json(tmp_path / "identity.json", {"study": "two"}))
    with pytest.raises(UserError, match="has given way to another one"):
        run.work(shop)
    assert not (tmp_path / "trials").exists()


@pytest.fixture
def project(tmp_path):
    (tmp_path / "dense.pdparams").write_bytes(b"weights")
    return make_project(tmp_path)


def workshop(file, *more):
    overrides = [f"Global.pretrained_model={file.parent / 'dense'}", "Slim.auto={max_drop: 1, minimize: bytes}", *more]
    base, _ = read_overridden(file, overrides)
    return run.workshop_of(load_config(file, overrides), base)


def test_a_worker_with_another_configuration_is_refused(project):
    leading = workshop(project)
    leading.identify(preparing._identity(leading, *split.halves(leading.config)))
    preparing.check_same(workshop(project))
    with pytest.raises(UserError, match="holds a search with other configuration"):
        run.work(workshop(project, "Global.seed=8"))


@pytest.mark.parametrize(
    ("name", "what"), [("train", "training images"), ("val", "images to choose by and deciding images")]
)
def test_a_search_does_not_go_on_with_a_list_that_was_written_anew(project, name, what):
    leading = workshop(project)
    leading.identify(preparing._identity(leading, *split.halves(leading.config)))
    labels = project.parent / f"images/{name}_list.txt"
    lines = labels.read_text()
    labels.write_text(lines.replace(" 0\n", " 1\n"))
    with pytest.raises(UserError, match=f"holds a search with other {what}; set another"):
        preparing.check_same(workshop(project))
    labels.write_text(lines)
    preparing.check_same(workshop(project))


def test_a_search_that_was_refused_before_it_trained_anything_gives_way(project):
    first, second = workshop(project), workshop(project, "Slim.auto={max_drop: 2, minimize: bytes}")
    identities = [preparing._identity(shop, *split.halves(shop.config)) for shop in (first, second)]
    first.give_way(identities[0])
    first.identify(identities[0])
    (first.folder / "dense").mkdir()
    (first.folder / "lock").touch()
    first.give_way(identities[0])
    assert (first.folder / "dense").exists()
    second.give_way(identities[1])
    assert [entry.name for entry in second.folder.iterdir()] == ["lock"]
    misspelt = workshop(project, "Slim.auto.storage=postgresql://me@hots/name")
    second.identify(identities[1])
    (second.folder / "study.db").touch()  # somebody who wanted to help was there
    wrong = preparing._identity(misspelt, *split.halves(misspelt.config))
    misspelt.give_way(wrong)
    misspelt.identify(wrong)
    second.give_way(identities[1])
    second.identify(identities[1])
    (second.folder / "trials").mkdir()
    first.give_way(identities[0])
    with pytest.raises(UserError, match="holds a search with other contract"):
        first.identify(identities[0])


def test_a_search_of_a_version_with_other_candidates_does_not_go_on(project, monkeypatch):
    leading = workshop(project)
    leading.identify(preparing._identity(leading, *split.halves(leading.config)))
    monkeypatch.setattr(preparing, "CHOICES", {"quantizer": ("pact", "lsq", "float")})
    with pytest.raises(UserError, match="holds a search with other kinds of candidates; set another Global.output_dir"):
        preparing.check_same(workshop(project))


def test_a_rate_that_falls_by_what_evaluations_find_is_refused(project):
    with pytest.raises(UserError, match=r"Optimizer.lr.name: ReduceOnPlateau lowers .* such as Cosine"):
        workshop(project, "Optimizer.lr={name: ReduceOnPlateau, learning_rate: 0.1}")


def test_a_password_is_in_no_file_and_makes_no_other_search(project):
    names = [f"Slim.auto.storage=postgresql://me:{word}@host/db?sslmode=require" for word in ("s3cret", "n3w")]
    first, second = (workshop(project, name) for name in names)
    first.identify(preparing._identity(first, *split.halves(first.config)))
    preparing.check_same(second)
    assert first.config.Slim.auto.storage.startswith("postgresql://me:s3cret@")
    kept = {file.name: file.read_text() for file in first.folder.rglob("*") if file.is_file()}
    assert set(kept) == {"contract.yaml", "identity.json"}
    assert not any("s3cret" in text for text in kept.values())
    assert "postgresql://me@host/db?sslmode=require" in kept["contract.yaml"]
    with pytest.raises(UserError, match="holds a search with other contract"):
        preparing.check_same(workshop(project, "Slim.auto.storage=postgresql://me:n3w@elsewhere/db"))


@pytest.mark.parametrize("override", ["Global.early_stopping={patience: 2}", "Global.checkpoints=output/latest"])
def test_what_no_training_of_a_search_could_do_is_refused(project, override):
    more = ["Global.pretrained_model=null", "Arch.pretrained=True"] if "checkpoints" in override else []
    with pytest.raises(UserError, match="does not go with Slim.auto"):
        workshop(project, *more, override)
