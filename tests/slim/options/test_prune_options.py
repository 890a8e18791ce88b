import pytest

from ppcls_compress.slim.options.prune import IterativeOptions, PruneOptions


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"align": "8"}, "align must be a positive integer, found '8'"),
        ({"align": 2.5}, "align must be a positive integer, found 2.5"),
        ({"align": True}, "align must be a positive integer, found True"),
        ({"bn_recalibration": 1.5}, "bn_recalibration must be a number of batches, found 1.5"),
        ({"bn_recalibration": "4"}, "bn_recalibration must be a number of batches, found '4'"),
        ({"skip": None}, "skip must be a list of names, globs or layer types, found None"),
        ({"skip": "conv"}, "skip must be a list of names, globs or layer types, found 'conv'"),
        ({"skip": [3]}, r"skip must be a list of names, globs or layer types, found \[3\]"),
        ({"target_latency_ms": True}, "target_latency_ms must be a positive number, found True"),
        ({"target_latency_ms": "3"}, "target_latency_ms must be a positive number, found '3'"),
        ({"target_latency_ms": float("inf")}, "target_latency_ms must be a positive number, found inf"),
        ({"pruned_ratio": {3: 0.5}}, "pruned_ratio takes globs over layer names, found 3"),
        ({"pruned_ratio": "0.5"}, r"pruned_ratio must be in \[0, 1\), found '0.5'"),
        ({"global_": 1}, "^global must be true or false, found 1"),
        ({"verify": "no"}, "verify must be true or false, found 'no'"),
        ({"iterative": {"steps": 2}}, "iterative must be IterativeOptions"),
    ],
)
def test_values_of_another_type_are_one_clear_error(options, says):
    with pytest.raises(ValueError, match=says):
        PruneOptions(**options)


def test_lists_and_tuples_are_taken():
    options = PruneOptions(skip=["a"], iterative=IterativeOptions(steps=2), target_latency_ms=3)
    assert options.skip == ("a",)
