"""Every public name of PaddleSlim's is there, or the error says what to use."""

import importlib

import pytest
from support import paddleslim

from ppcls_compress import slim
from ppcls_compress.slim.paddleslim.elsewhere import INSTEAD

# `__all__` of both packages in PaddleSlim 2.6.0.
_DYGRAPH = """
    ACBRepConfig ACBlock AbsmaxQuantizer BaseRepConfig DBBRepConfig Distill DiverseBranchBlock DygraphPruningCollections
    FPGMFilterPruner FilterPruner GMPUnstructuredPruner HistQuantizer KLQuantizer L1NormFilterPruner L2NormFilterPruner
    PTQ PerChannelAbsmaxQuantizer Pruner QAT RepVGGBlock RepVGGConfig Reparameter SlimRepBlock SlimRepConfig Status
    UnstructuredPruner config2yaml yaml2config
"""
_ANALYSIS = """
    LatencyEvaluator LatencyPredictor TableLatencyEvaluator TableLatencyPredictor dygraph_flops flops get_key_from_op
    model_size save_cls_model save_det_model
"""
_OTHERS = """
    AutoCompression OFA get_ratios_by_loss load_sensitivities make_unstructured_pruner merge_sensitive quant_aware
    quant_post_dynamic quant_post_static sensitivity
"""
DYGRAPH, ANALYSIS, OTHERS = _DYGRAPH.split(), _ANALYSIS.split(), _OTHERS.split()


@pytest.mark.parametrize("name", [*DYGRAPH, *ANALYSIS, *OTHERS])
def test_a_name_is_there_or_refused_with_what_to_use_instead(name):
    if name in slim.__all__:
        assert getattr(slim, name).__name__ == name
        return
    with pytest.raises(ImportError) as caught:
        exec(f"from ppcls_compress.slim import {name}", {})
    assert f"has no {name} of PaddleSlim's: {INSTEAD[name]}" in str(caught.value)
    assert caught.value.name == name


def test_nothing_else_is_told_about():
    assert sorted(INSTEAD) == sorted({*DYGRAPH, *ANALYSIS, *OTHERS} - set(slim.__all__))
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        slim.Nonsense  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Nonsense'"):
        from ppcls_compress.slim import Nonsense  # noqa: F401


def test_the_list_is_that_of_the_installed_one():
    paddleslim.live()
    assert sorted(set(importlib.import_module("paddleslim.dygraph").__all__)) == sorted(DYGRAPH)
    assert sorted(set(importlib.import_module("paddleslim.analysis").__all__)) == sorted(ANALYSIS)
