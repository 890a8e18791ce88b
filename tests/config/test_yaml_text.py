import itertools
import string

import pytest
import yaml

from ppcls_compress.config.load import read_yaml
from ppcls_compress.config.overrides import apply_override, parse_value
from ppcls_compress.config.yaml_text import MAX_BYTES, MAX_DEPTH, MAX_VALUES, UnfitError, parse_yaml
from ppcls_compress.errors import ConfigError

DEEP = "[" * 3000 + "]" * 3000
NAMES = string.ascii_lowercase[:9]
ALIASES = "{a: &a [x,x,x,x,x,x,x,x,x], " + ", ".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]" for before, name in itertools.pairwise(NAMES)
)
BOMB = ALIASES + "}"
MERGES = "a: &a {k: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{','.join([f'*{before}'] * 9)}]}}\n" for before, name in itertools.pairwise(NAMES)
)


def test_a_folder_may_be_named_like_a_date():
    assert parse_yaml("[2024-13-45, 2024-01-31]") == ["2024-13-45", "2024-01-31"]


def test_anchors_and_merges_still_work():
    assert parse_yaml("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}") == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Global: {epochs: 1}\nArch: &a [*a]", "line 2: a value that contains itself"),
        ("Arch: &a {b: *a}", "line 1: a value that contains itself"),
        (f"Arch: {DEEP}", f"line 1: nested more than {MAX_DEPTH} levels deep"),
        ("Arch: 1\nGlobal: !!timestamp 2024-13-45", "line 2: not a valid timestamp"),
        ("Arch: !!int many", "line 1: not a valid int"),
        ("Arch: !!bool perhaps", "line 1: not a valid bool"),
        ("Arch: !!map [1]", "line 1: expected a mapping node"),
        ("Arch: {[1]: 2}", "line 1: found unhashable key"),
        ("Arch: 0b_", "line 1: not a valid int"),
        ("Arch: \x01", "unacceptable character"),
        (f"Arch: {BOMB}", "line 1: its aliases stand for more than 50,000 values"),
        (MERGES, "line 1: its aliases stand for more than 50,000 values"),
        ("Arch: [" + "x," * MAX_VALUES + "]", "line 1: more than 50,000 values"),
        ("#" * MAX_BYTES + "\nArch: 1", "config.yaml: larger than 2,097,152 bytes"),
        ("Arch: " + "1" * 5000, "line 1: a whole number of 5,000 digits"),
        (f"Arch: 1\nGlobal: {2**64}", "line 2: a whole number of 65 bits"),
        ("Arch: 0b" + "1" * 65, "line 1: a whole number of 65 bits"),
        ("Global: {epochs: 010}", "line 1: '010' is octal in YAML; leave the leading zero out"),
        ("Global: {output_dir: 12:30}", "line 1: '12:30' counts in sixties in YAML; write it in quotes"),
        ('Global: {output_dir: "a\\0b"}', "line 1: 'a\\x00b' holds a NUL character"),
        ('Global: {output_dir: "\\ud800"}', "line 1: '\\ud800' holds half a character"),
        ("Arch: !!set {a, b}", "line 1: a set, which is the value of no option"),
        ("Arch: !!binary aGVsbG8=", "line 1: a bytes, which is the value of no option"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, text, expected):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        read_yaml(path)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_parse_yaml_raises_only_yaml_errors():
    with pytest.raises(yaml.YAMLError, match="nested more than"):
        parse_yaml(DEEP)


def test_what_is_large_but_within_the_limits_is_read():
    names = [f"class {number}" for number in range(1000)]
    assert parse_yaml(yaml.safe_dump({"label_list": names}))["label_list"] == names
    assert parse_yaml(f"[{2**63 - 1}, {-(2**63)}, 0x10, 1_000, 0]") == [2**63 - 1, -(2**63), 16, 1000, 0]
    assert parse_yaml("[" * MAX_DEPTH + "]" * MAX_DEPTH) is not None


def test_an_override_changes_one_of_two_places_that_share_an_anchor():
    data = parse_yaml("Train: &ops [{size: 1}]\nEval: *ops\nBoth: {<<: {a: &b [1]}, c: *b}")
    apply_override(data, "Train.0.size=2")
    apply_override(data, "Both.a.0=2")
    assert data == {"Train": [{"size": 2}], "Eval": [{"size": 1}], "Both": {"a": [2], "c": [1]}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (BOMB, "its aliases stand for more than 50,000 values"),
        (DEEP, "nested more than 50 levels deep"),
        ("1" * 5000, "a whole number of 5,000 digits"),
        (str(2**64), "a whole number of 65 bits"),
        (f"[1, {2**64}]", "a whole number of 65 bits"),
        ('"a\\0b"', "holds a NUL character"),
        ("[1, " * 3000, "nested more than 50 levels deep"),
    ],
)
def test_an_override_keeps_the_same_limits(text, problem):
    with pytest.raises(UnfitError, match=problem):
        parse_value(text)
    with pytest.raises(ConfigError) as error:
        apply_override({}, f"Global.seed={text}")
    assert problem in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1j", "1j"), ("b'x'", "b'x'"), ("{1, 2}", {1: None, 2: None}), ("'a\\0b'", "a\\0b"), ("...", "...")],
)
def test_a_literal_that_is_the_value_of_no_option_is_read_as_yaml(text, expected):
    assert parse_value(text) == expected


@pytest.mark.parametrize(
    "key", ["a." * 60 + "b", "ops." + "9" * 5000, "ops." + "9" * 5000 + ".x", "x" * 100_000 + ".y.z"]
)
def test_a_path_of_an_override_that_leads_nowhere_is_one_short_line(key):
    data = {"ops": [1], "x" * 100_000: 1}
    with pytest.raises(ConfigError) as error:
        apply_override(data, f"{key}=1")
    assert len(str(error.value)) < 600
    assert "\n" not in str(error.value)
