from __future__ import annotations

import errno
import hashlib
import os
import pickle
import stat
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import paddle
import pytest

from ppcls_compress import io
from ppcls_compress.errors import UserError

ARRAYS = {
    "plain": np.arange(6.0, dtype="float32").reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "empty": np.zeros((0, 3), "float64"),
    "scalar array": np.array(3, "int64"),
    "half": np.ones(3, "float16"),
    "flags": np.array([True, False]),
}


def assert_same_arrays(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)


def pickled(path, obj, protocol=4):
    path.write_bytes(pickle.dumps(obj, protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reads_arrays_of_every_pickle_protocol(tmp_path, protocol):
    assert_same_arrays(io.read_state(pickled(tmp_path / "a.pdparams", ARRAYS, protocol)), ARRAYS)


@pytest.mark.parametrize(("ours", "theirs"), [(b"numpy._core", b"numpy.core"), (b"numpy.core", b"numpy._core")])
def test_reads_the_spelling_of_the_other_numpy(tmp_path, ours, theirs):
    content = pickle.dumps({"a": np.arange(3.0), "b": np.float32(2)}, 2)  # names are lines in protocol 2
    path = tmp_path / "a.pdparams"
    path.write_bytes(content.replace(ours, theirs))
    state = io.read_state(path)
    np.testing.assert_array_equal(state["a"], np.arange(3.0))
    assert state["b"] == 2
    assert state["b"].dtype == np.float32


def test_reads_what_paddle_writes(tmp_path):
    net = paddle.nn.Linear(3, 4)
    optimizer = paddle.optimizer.Momentum(
        paddle.optimizer.lr.CosineAnnealingDecay(0.1, 10), parameters=net.parameters()
    )
    net(paddle.ones([2, 3])).sum().backward()
    optimizer.step()
    path = str(tmp_path / "a")
    paddle.save(net.state_dict(), path + ".pdparams")
    paddle.save(optimizer.state_dict(), path + ".pdopt")
    paddle.save({"nested": [net.weight], "epoch": 3, "metric": {"top1": 0.5}, "note": ("a", 1)}, path + ".pdstates")
    assert_same_arrays(io.read_state(path + ".pdparams"), {"weight": net.weight.numpy(), "bias": net.bias.numpy()})
    momentum = io.read_state(path + ".pdopt")
    assert momentum["LR_Scheduler"] == {"last_epoch": 0, "last_lr": 0.1}
    assert [value.shape for value in momentum.values() if isinstance(value, np.ndarray)] == [(3, 4), (4,)]
    states = io.read_state(path + ".pdstates")
    np.testing.assert_array_equal(states.pop("nested")[0], net.weight.numpy())
    assert states == {"epoch": 3, "metric": {"top1": 0.5}, "note": ("a", 1)}


def test_paddle_reads_what_we_write(tmp_path):
    net, other = paddle.nn.Linear(3, 4), paddle.nn.Linear(3, 4)
    path = str(tmp_path / "a.pdparams")
    io.write_state(path, net.state_dict())
    assert other.set_state_dict(paddle.load(path)) == ([], [])
    np.testing.assert_array_equal(other.weight.numpy(), net.weight.numpy())
    assert b"_core" not in (tmp_path / "a.pdparams").read_bytes()  # an old NumPy cannot import that


def test_round_trip_keeps_arrays_and_containers(tmp_path):
    path = tmp_path / "new folder" / "a.pdstates"
    io.write_state(path, ARRAYS)
    assert_same_arrays(io.read_state(path), ARRAYS)
    states = {"epoch": 3, "best": np.float64(0.5), "none": None, "list": [1, (2.5, "x")], "deep": {"flag": True}}
    io.write_state(path, OrderedDict(states))
    assert io.read_state(path) == states


def test_refuses_to_write_what_it_would_not_read(tmp_path):
    path = tmp_path / "a.pdparams"
    io.write_state(path, {"a": 1})
    with pytest.raises(TypeError, match="holds a object"):
        io.write_state(path, {"a": object()})
    assert io.read_state(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["a.pdparams"]


class Attack:
    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    ("function", "args", "named"),
    [
        (os.system, ("touch {}",), f"{os.system.__module__}.system"),
        (eval, ("open('{}', 'w')",), "eval"),
        (np.fromfile, ("{}",), "numpy.fromfile"),
        (getattr, (np, "load"), "getattr"),
    ],
)
def test_refuses_to_call_anything_else(tmp_path, function, args, named, protocol):
    marker = tmp_path / "marker"
    args = [arg.format(marker) if isinstance(arg, str) else "x" for arg in args]
    path = pickled(tmp_path / "a.pdparams", {"a": Attack(function, *args)}, protocol)
    with pytest.raises(UserError) as error:
        io.read_state(path)
    assert str(path) in str(error.value)
    assert named in str(error.value)
    assert not marker.exists()


def test_refuses_arrays_of_objects(tmp_path):
    with pytest.raises(UserError, match="array type 'O8'"):
        io.read_state(pickled(tmp_path / "a.pdparams", {"a": np.array([{}, None])}))
    with pytest.raises(UserError, match=r"array type 'U1'"):
        io.read_state(pickled(tmp_path / "a.pdparams", {"a": np.array(["x"])}))


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_half_written_file_is_one_line_that_names_it(tmp_path, keep):
    path = tmp_path / "a.pdparams"
    io.write_state(path, ARRAYS)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(
        UserError, match=r"a\.pdparams: (empty file|truncated or damaged|was altered since it was written, or cut)"
    ) as error:
        io.read_state(path)
    assert "\n" not in str(error.value)


def test_other_unusable_files(tmp_path):
    garbage = tmp_path / "garbage.pdparams"
    rng = np.random.default_rng(0)
    for _ in range(50):
        garbage.write_bytes(rng.bytes(200))
        with pytest.raises(UserError, match=r"garbage\.pdparams"):
            io.read_state(garbage)
    with pytest.raises(UserError, match=r"missing\.pdparams: cannot be read: No such file"):
        io.read_state(tmp_path / "missing.pdparams")
    with pytest.raises(UserError, match="is a folder"):
        io.read_state(tmp_path)
    with pytest.raises(UserError, match="holds a list, not a state dict"):
        io.read_state(pickled(tmp_path / "list.pdparams", [1, 2]))
    with pytest.raises(UserError, match="cut into slices"):
        io.read_state(pickled(tmp_path / "big.pdparams", {"UnpackBigParamInfor@@": {}}))


def test_atomic_keeps_the_old_file_when_the_block_fails(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail_half_way():
        with io.atomic(path) as partial:
            partial.write_text("half")
            assert partial.parent == tmp_path
            assert partial.suffix == ".txt"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_text() == "old"
    with io.atomic(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_json(tmp_path):
    path = tmp_path / "a.json"
    io.write_json(path, {"top1": np.float32(0.5), "n": np.int64(3), "name": "猫", "pair": (1, np.True_)})
    assert io.read_json(path) == {"top1": 0.5, "n": 3, "name": "猫", "pair": [1, True]}
    io.write_json(path, {"loss": float("nan"), "most": [np.float32("inf"), -np.inf], "top1": np.nan})
    assert "".join(path.read_text().split()) == '{"loss":null,"most":[null,null],"top1":null}'
    path.write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"a\.json: not a JSON file"):
        io.read_json(path)
    path.write_text('{"a": ')
    with pytest.raises(UserError, match=r"a\.json: not a JSON file: .*line 1"):
        io.read_json(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"a\.json: not a JSON file"):
        io.read_json(path)
    with pytest.raises(UserError, match=r"b\.json: cannot be read"):
        io.read_json(tmp_path / "b.json")
    with pytest.raises(TypeError, match="object has no JSON form"):
        io.write_json(path, object())


def test_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert io.sha256(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_files_that_belong_together_are_renamed_when_all_are_written(tmp_path):
    paths = [tmp_path / "new" / name for name in ("a.txt", "b.txt")]

    def write(text, *, fail=False):
        with io.atomic_files(paths) as partials:
            for partial in partials:
                partial.write_text(text)
                if fail:
                    raise RuntimeError
            assert not any(path.exists() and path.read_text() == text for path in paths)

    write("old")
    with pytest.raises(RuntimeError):
        write("new", fail=True)
    assert {path.name: path.read_text() for path in paths[0].parent.iterdir()} == {"a.txt": "old", "b.txt": "old"}
    write("new")
    assert {path.name: path.read_text() for path in paths[0].parent.iterdir()} == {"a.txt": "new", "b.txt": "new"}


def test_targets_that_cannot_be_written_are_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"^/proc/x: cannot be made a folder: .*$"):
        io.make_folder("/proc/x")
    with pytest.raises(UserError, match=r"file: cannot be made a folder: File exists$"):
        io.make_folder(tmp_path / "file")
    with pytest.raises(UserError, match=r"^/proc/x\.json: cannot be written: .*$"):
        io.write_json("/proc/x.json", {})
    with pytest.raises(UserError, match=r"file/deeper: cannot be made a folder: Not a directory$"):
        io.write_state(tmp_path / "file" / "deeper" / "a.pdparams", {})
    with pytest.raises(UserError, match=r"folder: cannot be written: Is a directory$"):
        io.write_json(tmp_path / "folder", {})

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"a\.json: cannot be written: No space left on device$"):
        io.write_json(tmp_path / "a.json", {})
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_the_failure_of_another_file_is_not_blamed_on_the_target(tmp_path):
    with pytest.raises(FileNotFoundError), io.atomic(tmp_path / "a.txt") as partial:
        partial.write_text((tmp_path / "source").read_text())


def test_weights_with_or_without_their_ending(tmp_path):
    for text in ("a/best_model", "a/best_model.pdparams"):
        assert str(io.weights_file(text)) == "a/best_model.pdparams"
        assert str(io.plain_prefix(text)) == "a/best_model"
    assert str(io.weights_file("a/v1.5")) == "a/v1.5.pdparams"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs the device that is always full")
def test_a_device_is_written_to_and_never_replaced(tmp_path):
    with pytest.raises(UserError, match=r"^/dev/full: cannot be written: No space left on device$"):
        io.write_json("/dev/full", {"a": 1})
    io.write_json("/dev/null", {"a": 1})
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    (tmp_path / "link").symlink_to("/dev/null")
    io.write_json(tmp_path / "link", {"a": 1})
    assert (tmp_path / "link").is_symlink()


def test_a_pipe_gets_what_is_written(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    io.write_json(tmp_path / "pipe", {"a": 1}, indent=None)
    assert os.read(reader, 100) == b'{"a": 1}\n'
    os.close(reader)
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_file_behind_a_link_is_replaced_and_the_link_stays(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "link.json").symlink_to(tmp_path / "far" / "a.json")
    for content in ({"a": 1}, {"a": 2}):
        io.write_json(tmp_path / "link.json", content)
        assert io.read_json(tmp_path / "far" / "a.json") == content
    assert (tmp_path / "link.json").is_symlink()
    assert os.listdir(tmp_path / "far") == ["a.json"]


def test_a_state_file_altered_in_any_byte_is_refused(tmp_path):
    path = tmp_path / "a.pdstates"
    io.write_state(path, {"progress": {"epoch": 3, "best": 0.5}, "seed": 0})
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in (0, 3, 7):
            altered = bytearray(whole)
            altered[place] ^= 1 << bit
            path.write_bytes(altered)
            with pytest.raises(UserError):
                io.read_state(path, ours=True)


def test_files_left_by_killed_processes_are_swept_and_those_of_living_ones_stay(tmp_path):
    finished = subprocess.Popen([sys.executable, "-c", ""])
    finished.wait()
    with io.atomic(tmp_path / "latest.pdparams") as mine:
        mine.write_text("being written")
        theirs = mine.with_name(mine.name.replace(f"-{os.getpid()}-", f"-{finished.pid}-"))
        theirs.write_text("left")
        others = tmp_path / ".hidden.yaml"
        others.write_text("")
        assert io.sweep(tmp_path) == [theirs]
        assert mine.exists()
        assert others.exists()


def test_a_second_name_keeps_the_file_when_the_first_is_replaced(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("old")
    io.link_or_copy(first, second)
    with io.atomic(first) as partial:
        partial.write_text("new")
    assert (first.read_text(), second.read_text()) == ("new", "old")
