"""Nothing lost: whatever is killed or altered, a checkpoint that was complete can be resumed from."""

import pytest
from support.training import tiny_trainer

from ppcls_compress import io
from ppcls_compress.engine import checkpoint
from ppcls_compress.engine.hooks.checkpoints import Checkpoints
from ppcls_compress.engine.hooks.evaluation import Evaluation
from ppcls_compress.errors import UserError
from ppcls_compress.slim.recipe import empty_record


class Killed(Exception):
    """What a test raises where a process may die."""


def run(folder, epochs=3, keep_last=2):
    values = iter([0.5, 0.7, 0.9])
    hooks = [
        Evaluation(lambda: {"top1": next(values)}, 1, "top1"),
        Checkpoints(folder, empty_record(), 1, keep_last),
    ]
    trainer = tiny_trainer(epochs=epochs, hooks=hooks)
    trainer.run()
    return trainer


def epoch(prefix):
    return checkpoint.read_states(prefix)["progress"]["epoch"]


def test_the_last_epochs_are_kept_under_further_names(tmp_path):
    run(tmp_path, keep_last=3)
    assert [epoch(tmp_path / name) for name in ("latest", "latest_1", "latest_2")] == [3, 2, 1]
    assert not (tmp_path / "latest_3.pdstates").exists()


def test_one_is_kept_where_one_is_asked_for(tmp_path):
    run(tmp_path, keep_last=1)
    assert not list(tmp_path.glob("latest_*"))


@pytest.mark.parametrize("suffix", [".pdparams", ".pdopt", ".slim.json", ".pdstates"])
def test_a_damaged_latest_falls_back_to_the_one_before_aloud_unless_strict(tmp_path, suffix):
    run(tmp_path)
    path = tmp_path / f"latest{suffix}"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    prefix, reason = checkpoint.usable(tmp_path / "latest", strict=False)
    assert prefix == tmp_path / "latest_1"
    assert epoch(prefix) == 2
    assert path.name in reason
    with pytest.raises(UserError, match=path.name):
        checkpoint.usable(tmp_path / "latest", strict=True)


def test_without_an_earlier_one_the_damage_is_told(tmp_path):
    run(tmp_path, keep_last=1)
    (tmp_path / "latest.pdopt").write_bytes(b"")
    with pytest.raises(UserError, match=r"latest\.pdopt is not the file that was saved"):
        checkpoint.usable(tmp_path / "latest", strict=False)


@pytest.mark.parametrize("save", range(3))
def test_killed_at_any_save_of_an_epoch_latest_tells_of_nothing_that_is_not_there(tmp_path, monkeypatch, save):
    original, calls = checkpoint.save, []

    def dying(prefix, *args, **options):
        calls.append(prefix.name)
        if len(calls) == 4 + save:  # three saves in the first epoch, then those of the second
            raise Killed
        original(prefix, *args, **options)

    monkeypatch.setattr(checkpoint, "save", dying)
    with pytest.raises(Killed):
        run(tmp_path)
    assert calls[-1] == ("epoch_2", "best_model", "latest")[save]
    progress = checkpoint.read_states(tmp_path / "latest")["progress"]
    assert progress["epoch"] == 1
    assert epoch(tmp_path / "best_model") >= progress["best_epoch"]
    assert epoch(tmp_path / "epoch_1") == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epoch", 10**9),
        ("epoch", -1),
        ("epoch", "3"),
        ("epoch", 1.5),
        ("best", float("nan")),
        ("metrics", ["top1"]),
        ("unheard_of", 1),
    ],
)
def test_states_of_another_form_are_refused_by_key(tmp_path, key, value):
    run(tmp_path, epochs=1)
    states = io.read_state(tmp_path / "latest.pdstates")
    states["progress"][key] = value
    io.write_state(tmp_path / "latest.pdstates", states)
    with pytest.raises(UserError, match=rf"latest\.pdstates: progress\.{key}"):
        checkpoint.read_states(tmp_path / "latest")
