"""docs/data.md lists every transform with its options."""

import re
from pathlib import Path

import pytest

from ppcls_compress.data.transforms import BATCH_TRANSFORMS, TRANSFORMS

PAGE = Path(__file__).parents[3] / "docs" / "data.md"
_ENTRY = re.compile(r"`([A-Z]\w+)(?:: \{([\w\s,]+)\})?`")
_OF_ONE_SAMPLE = {"key", "keys"}  # which parts of a sample Paddle's transforms change; there is one


def listed():
    section = PAGE.read_text(encoding="utf-8").split("\n## Transforms\n")[1].split("\n`config_str` is")[0]
    return {name: set(re.findall(r"\w+", keys)) for name, keys in _ENTRY.findall(section) if keys or name in TRANSFORMS}


@pytest.mark.parametrize("registry", [TRANSFORMS, BATCH_TRANSFORMS], ids=["images", "batches"])
def test_every_transform_is_listed_with_its_options(registry):
    found = listed()
    for name in registry:
        assert found.get(name) == set(registry.get(name).model_fields) - _OF_ONE_SAMPLE, name


def test_no_other_is_listed():
    assert set(listed()) <= {*TRANSFORMS, *BATCH_TRANSFORMS}
