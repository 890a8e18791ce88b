import sys

import pytest
from support.training import tiny_trainer

from ppcls_compress.engine.hooks.visualdl import VisualDL
from ppcls_compress.errors import MissingDependencyError


def test_without_the_extra_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "visualdl", None)
    with pytest.raises(MissingDependencyError, match=r"use_visualdl: VisualDL is not installed; .*\[visualdl\]"):
        VisualDL(tmp_path)


def test_curves_are_written(tmp_path):
    pytest.importorskip("visualdl")
    tiny_trainer(epochs=1, hooks=[VisualDL(tmp_path)]).run()
    assert next(tmp_path.glob("vdlrecords.*")).stat().st_size > 0
