import pytest

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

from ppcls_compress.deploy.onnx.convert.program import doubles_as_floats
from ppcls_compress.deploy.program import Program


def double(name, value):
    return {"N": name, "AT": {"#": "0.a_f64", "D": value}}


def test_attributes_become_floats_in_inner_blocks_and_arrays_too_and_numbers_of_constants_stay():
    scales = {"N": "scale", "AT": {"#": "0.a_array", "D": [{"#": "0.a_f64", "D": 2.0}, {"#": "0.a_i64", "D": 2}]}}
    inner = {"#": "1.group_norm", "A": [double("epsilon", 1e-5), scales]}
    choosing = {"#": "1.if", "A": [], "regions": [{"blocks": [{"ops": [inner]}]}]}
    constant = {"#": "1.full", "A": [double("value", 0.5)]}
    program = Program({"program": {"regions": [{"blocks": [{"ops": [constant, choosing]}]}]}})
    doubles_as_floats(program)
    assert [item["AT"]["#"] for item in inner["A"]] == ["0.a_f32", "0.a_array"]
    assert [item["#"] for item in scales["AT"]["D"]] == ["0.a_f32", "0.a_i64"]
    assert constant["A"] == [double("value", 0.5)]
