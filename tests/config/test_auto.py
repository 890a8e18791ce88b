import pytest
from pydantic import ValidationError

from ppcls_compress.config.auto import Auto
from ppcls_compress.config.load import validate
from ppcls_compress.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("openvino", ("onnx-openvino", None)),
        ("onnxruntime", ("onnx-ort", None)),
        ("onnx-ort@openvino", ("onnx-ort", "openvino")),
        ("paddle", ("paddle", None)),
    ],
)
def test_a_runtime_names_a_format_or_what_runs_it(text, place):
    assert Auto(max_drop=1, minimize="bytes", runtime=text).place == place


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"max_drop": -1}, "Slim.auto.max_drop: expected greater than or equal to 0, found -1"),
        ({"target": None}, "Slim.auto: expected either target, such as {latency: 0.5}, or minimize"),
        ({"target": {}}, "Slim.auto.target: expected one of latency, flops, bytes, params with a share"),
        ({"target": {"latency": 1.5}}, "Slim.auto.target.latency: expected less than 1, found 1.5"),
        ({"target": {"speed": 0.5}}, "Slim.auto.target: unknown key 'speed'"),
        ({"runtime": "openvimo"}, "Slim.auto.runtime: unknown format or runtime 'openvimo'; did you mean 'openvino'?"),
        ({"runtime": "onnx-openvino@onnxruntime"}, "Slim.auto.runtime: onnx-openvino does not run in 'onnxruntime'"),
        ({"runtime": "onnx-rknn"}, "Slim.auto.runtime: onnx-rknn is for RKNN, whose times no machine here tells"),
        ({"budget": {"trials": 0}}, "Slim.auto.budget.trials: expected greater than or equal to 1, found 0"),
        ({"minimise": "bytes"}, "Slim.auto: unknown key 'minimise'; did you mean 'minimize'?"),
    ],
)
def test_a_bad_contract_is_one_line_that_names_the_key(changes, expected):
    auto = {"max_drop": 1.0, "target": {"bytes": 0.5}, **changes}
    with pytest.raises(ConfigError) as told:
        validate({"Arch": {"name": "LeNet"}, "Slim": {"auto": auto}}, source="file")
    assert str(told.value).startswith(f"file: {expected}")
    assert "\n" not in str(told.value)


def test_what_is_searched_is_not_chosen_by_hand_too():
    slim = {"auto": {"max_drop": 1, "minimize": "flops"}, "prune": {"name": "fpgm"}}
    with pytest.raises(ConfigError, match=r"Slim.auto: chooses prune itself"):
        validate({"Arch": {"name": "LeNet"}, "Slim": slim}, source="file")


def test_a_contract_is_frozen():
    with pytest.raises(ValidationError):
        Auto(max_drop=1, minimize="bytes").max_drop = 2
