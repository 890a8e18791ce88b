"""Files made to crash, to hang or to run something are refused in one line; files cut or altered anywhere, too."""

import contextlib
import io
import pickle
import random
import struct
import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest

from ppcls_compress import restricted_pickle
from ppcls_compress.errors import UserError

STATE = {
    "weight": np.arange(12, dtype="float32").reshape(3, 4),
    "steps": np.int64(3),
    "settings": OrderedDict(name="x", rates=[0.1, 0.2], shape=(1, 2), none=None),
}
HEADER = b"\x80\x04"


def load(data):
    return restricted_pickle.load(io.BytesIO(data), "file")


def dtype_with_fields(base, order, offset):
    field = b"cnumpy\ndtype\n(X\x02\x00\x00\x00f8tR"
    fields = b"}X\x01\x00\x00\x00a(" + field + b"J" + struct.pack("<i", offset) + b"ts"
    name = b"cnumpy\ndtype\n(X" + struct.pack("<I", len(base)) + base + b"tR"
    return name + b"(K\x03X\x01\x00\x00\x00" + order + b"N(X\x01\x00\x00\x00at" + fields + b"K\x08K\x01K\x00tb"


def nested(depth):
    return HEADER + b"}(\x8c\x01w" + b"]" * depth + b"a" * (depth - 1) + b"u."


def holds_itself():
    own = {}
    own["w"] = own
    return pickle.dumps(own, 4)


def doubled(times):
    shared = [0]
    for _ in range(times):
        shared = [shared, shared]
    return pickle.dumps({"w": shared}, 4)


def repeated_buffer(times):
    """One buffer, and many arrays that copy it."""
    array = b"cnumpy\nndarray\n(M\x00\x10\x85\x8c\x02u1h\x00tR"
    return HEADER + b"B" + struct.pack("<I", 4096) + b"a" * 4096 + b"\x94" + b"](" + array * times + b"e."


HOSTILE = {
    "fields of a type outside its bytes": (
        HEADER + b"}(X\x01\x00\x00\x00acnumpy\nndarray\n((K\x01t"
        + dtype_with_fields(b"V8", b"|", 0x7F000000) + b"C\x08AAAAAAAAtRu.", "array type"),
    "fields of a type of numbers": (
        HEADER + b"}(X\x01\x00\x00\x00acnumpy\nndarray\n((K\x01t"
        + dtype_with_fields(b"f8", b"<", 0x7F000000) + b"C\x08AAAAAAAAtRu.", "fields or a byte order"),
    "state of a function": (HEADER + b"c_codecs\nencode\n}(X\x01\x00\x00\x00aK\x01ub.", "state of a function"),
    "state of a class": (HEADER + b"cnumpy\ndtype\n}(X\x01\x00\x00\x00aK\x01ub.", "state of a function"),
    "a table of four billion entries": (HEADER + b"Nr\xff\xff\xff\xff.", "table of 4294967295"),
    "a length of a terabyte": (HEADER + b"\x8e" + struct.pack("<Q", 2**40) + b"abc.", "truncated or damaged"),
    "a bytearray of a terabyte": (HEADER + b"\x96" + struct.pack("<Q", 2**40) + b"abc.", "truncated or damaged"),
    "an integer of a million digits": (HEADER + b"I" + b"9" * 10**6 + b"\n.", "truncated or damaged|64 bits"),
    "lists in lists": (nested(3000), "32 deep"),
    "a dict that holds itself": (holds_itself(), "32 deep"),
    "two to the sixtieth lists": (doubled(60), "32 deep"),
    "a buffer that is copied many times": (repeated_buffer(2000), "more of its bytes than it holds"),
    "an array larger than its bytes": (
        HEADER + b"cnumpy\nndarray\n(\x8a\x05\x00\x00\x00\x00\x10\x85\x8c\x02f8C\x08AAAAAAAAtR.", "truncated or dam"),
    "an instance by its class": (HEADER + b"ccollections\nOrderedDict\n)\x81.", "NEWOBJ"),
    "a persistent name": (HEADER + b"Pname\n.", "PERSID"),
    "system": (HEADER + b"cposix\nsystem\n(X\x02\x00\x00\x00lstR.", "posix.system"),
    "import by the array type": (HEADER + b"cnumpy\ndtype\n(X\x06\x00\x00\x00f8,f8,tR.", "array type"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_one_line_and_little_memory(name):
    data, reason = HOSTILE[name]
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=reason) as told:
            load(data)
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 300


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_every_protocol_is_read(protocol):
    found = load(pickle.dumps(STATE, protocol))
    np.testing.assert_array_equal(found["weight"], STATE["weight"])
    assert found["steps"] == 3
    assert found["settings"] == STATE["settings"]
    assert isinstance(found["settings"], OrderedDict)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("layout", ["C", "F"])
def test_arrays_of_either_byte_order_come_out_native_and_writable(order, layout):
    array = np.asarray(np.arange(6).reshape(2, 3), f"{order}i4", order=layout)
    found = load(pickle.dumps({"a": array}, 4))["a"]
    np.testing.assert_array_equal(found, array)
    assert found.dtype.isnative
    assert found.flags.writeable


def test_an_array_that_occurs_often_is_one():
    array = np.ones(1000)
    found = load(pickle.dumps({"a": array, "b": array, "c": [array] * 50}, 4))
    assert found["a"] is found["b"] is found["c"][49]


@pytest.mark.parametrize("protocol", [2, 4])
def test_files_altered_anywhere_are_read_as_data_or_refused(protocol):
    """Whatever bytes change: no crash, no other exception, nothing but arrays and plain values."""
    draw, original = random.Random(protocol), pickle.dumps(STATE, protocol)
    for _ in range(1500):
        data = bytearray(original)
        for _ in range(draw.choice((1, 1, 2, 8))):
            action, place = draw.randrange(3), draw.randrange(len(data))
            if action == 0:
                data[place] = draw.randrange(256)
            elif action == 1:
                del data[place : place + draw.randrange(1, 9)]
            else:
                data[place:place] = bytes(draw.randrange(256) for _ in range(draw.randrange(1, 9)))
            if not data:
                break
        with contextlib.suppress(UserError):
            load(bytes(data))
