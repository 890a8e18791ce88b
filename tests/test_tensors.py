"""safetensors files: what is written is read, by others too, and what is hostile or damaged is one line."""

import json
import os
import struct

import numpy as np
import paddle
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ppcls_compress import tensors
from ppcls_compress.errors import UserError

RECORD = {"version": 1, "steps": [{"kind": "prune", "kept": [0, 2], "name": "für"}]}


def arrays():
    rng = np.random.default_rng(0)
    return {
        "conv.weight": rng.normal(size=(4, 3, 3, 3)).astype("float32"),
        "scale": np.array(0.5, "float32"),
        "seen": np.array([7], "int64"),
        "none": np.zeros((0, 3), "float32"),
        "turned": np.asfortranarray(rng.normal(size=(3, 5))),
        "flag": np.array([True, False]),
    }


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "model.safetensors"
    tensors.write(path, arrays(), RECORD)
    found, record = tensors.read(path)
    assert record == RECORD
    assert found.keys() == arrays().keys()
    for name, value in arrays().items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)
    assert load_file(path).keys() == found.keys()
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_tensors_of_paddle_are_written(tmp_path):
    tensors.write(tmp_path / "a.safetensors", {"x": paddle.ones([2])}, RECORD)
    np.testing.assert_array_equal(tensors.read(tmp_path / "a.safetensors")[0]["x"], np.ones(2))


def test_a_full_disk_is_one_line(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    os.symlink("/dev/full", tmp_path / "full.safetensors")
    with pytest.raises(UserError, match="cannot be written: .*[Nn]o space left"):
        tensors.write(tmp_path / "full.safetensors", {"x": np.zeros(1000)}, RECORD)


def test_a_failure_of_the_library_is_one_line(tmp_path, monkeypatch):
    def fail(*arguments):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.numpy.save_file", fail)
    with pytest.raises(UserError, match=r"a.safetensors: cannot be written: .*No space left"):
        tensors.write(tmp_path / "a.safetensors", {"x": np.zeros(1000)}, RECORD)
    assert not os.listdir(tmp_path)


def test_files_of_others_have_no_record(tmp_path):
    save_file({"x": np.ones(3, "float32")}, tmp_path / "a.safetensors")
    found, record = tensors.read(tmp_path / "a.safetensors")
    assert list(found) == ["x"]
    assert record is None


@pytest.mark.parametrize("value", [1.0, "text", np.array(["text"]), np.zeros(1, "complex64")])
def test_what_is_no_array_of_numbers_is_not_written(tmp_path, value):
    with pytest.raises(TypeError, match="safetensors has no form"):
        tensors.write(tmp_path / "a.safetensors", {"x": value}, RECORD)
    assert not os.listdir(tmp_path)


def test_every_flipped_bit_of_a_file_of_ours_is_refused_or_changes_nothing(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors.write(path, {"x": np.arange(5, dtype="float32"), "y": np.ones(2, "int64")}, RECORD)
    whole, expected = path.read_bytes(), tensors.read(path)
    for index in range(len(whole)):
        changed = bytearray(whole)
        changed[index] ^= 1 << index % 8
        path.write_bytes(changed)
        try:
            found, _ = tensors.read(path)
        except UserError:
            continue
        # Only where the checksum's own name is altered is it a file of others, with no record of ours or this one.
        assert b"ppcls_compress.sha256" not in bytes(changed) or all(
            np.array_equal(found[name], expected[0][name]) for name in found
        )


def header(text, data=b""):
    text = text if isinstance(text, bytes) else json.dumps(text).encode()
    return struct.pack("<Q", len(text)) + text + data


HOSTILE = {
    "empty": b"",
    "short": b"\x08\x00",
    "a header that is not there": struct.pack("<Q", 100) + b"{}",
    "a huge header": struct.pack("<Q", 2**63) + b"{}",
    "no JSON": header(b"\xff\xfe"),
    "a list": header([1]),
    "deep": header(b"[" * 100_000),
    "beyond its end": header({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}),
    "a shape of another size": header({"x": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}, b"0000"),
    "a shape that overflows": header({"x": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 4]}}, b"0000"),
    "negative": header({"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"0000"),
    "overlapping": header(
        {k: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for k in ("x", "y")},
        b"0000",
    ),
    "an unknown type": header({"x": {"dtype": "Q7", "shape": [1], "data_offsets": [0, 4]}}, b"0000"),
    "a type that NumPy lacks": header({"x": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}, b"0000"),
    "a record that is no JSON": header({"__metadata__": {"ppcls_compress.record": "["}}),
    "a pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused_in_one_line(tmp_path, kind):
    path = tmp_path / "a.safetensors"
    path.write_bytes(HOSTILE[kind])
    with pytest.raises(UserError) as raised:
        tensors.read(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    for name in ("pipe.safetensors", "absent.safetensors", "."):
        with pytest.raises(UserError, match="is not a file|cannot be read"):
            tensors.read(tmp_path / name)


def test_a_header_is_bounded(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(header(b"{}" + b" " * (17 << 20)))
    with pytest.raises(UserError, match="its header has"):
        tensors.read(path)
