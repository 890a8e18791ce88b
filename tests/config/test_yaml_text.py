import pytest
import yaml

from ppcls_compress.config.load import read_yaml
from ppcls_compress.config.yaml_text import parse_yaml
from ppcls_compress.errors import ConfigError

DEEP = "[" * 3000 + "]" * 3000


def test_a_folder_may_be_named_like_a_date():
    assert parse_yaml("[2024-13-45, 2024-01-31]") == ["2024-13-45", "2024-01-31"]


def test_anchors_and_merges_still_work():
    assert parse_yaml("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}") == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Global: {epochs: 1}\nArch: &a [*a]", "line 2: found unconstructable recursive node"),
        ("Arch: &a {b: *a}", "line 1: found unconstructable recursive node"),
        (f"Arch: {DEEP}", "nested too deeply"),
        ("Arch: 1\nGlobal: !!timestamp 2024-13-45", "line 2: not a valid timestamp"),
        ("Arch: !!int many", "line 1: not a valid int"),
        ("Arch: !!bool perhaps", "line 1: not a valid bool"),
        ("Arch: !!map [1]", "line 1: expected a mapping node"),
        ("Arch: {[1]: 2}", "line 1: found unhashable key"),
        ("Arch: 0b_", "line 1: not a valid int"),
        ("Arch: \x01", "unacceptable character"),
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
    with pytest.raises(yaml.YAMLError, match="nested too deeply"):
        parse_yaml(DEEP)
