import paddle
import pytest

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

from paddle import nn

from ppcls_compress.deploy.onnx.convert.lowering import lower
from ppcls_compress.deploy.program import Program, attribute, inputs, kind
from ppcls_compress.slim.tracing import save_program


def saved(folder, *layers):
    model = nn.Sequential(nn.Conv2D(3, 4, 1, bias_attr=False), *layers)
    model.eval()
    save_program(model, str(folder / "model"), [paddle.static.InputSpec([None, 3, 12, 12], "float32", "image")])
    return Program.read(folder / "model.json")


def computing(program):
    constants = ("p", "data", "fetch", "full", "full_int_array")
    return [op for op in program.operators if kind(op) not in constants]


@pytest.mark.parametrize(
    ("layer", "kinds"),
    [
        (nn.Dropout(0.4, mode="downscale_in_infer"), ["scale"]),
        (nn.Dropout(0.4), ["dropout"]),
        (nn.ReLU6(), ["clip"]),
        (nn.Hardtanh(-0.5, 0.7), ["clip"]),
        (nn.Flatten(), ["reshape"]),
        (nn.Flatten(2), ["flatten"]),
    ],
    ids=repr,
)
def test_what_p2o_does_not_know_becomes_what_it_knows(tmp_path, layer, kinds):
    program = saved(tmp_path, layer)
    lower(program)
    assert [kind(op) for op in computing(program)] == ["conv2d", *kinds]


@pytest.mark.parametrize(("size", "windows"), [(4, 3), (12, 1), ((3, 6), (4, 2)), (5, None), (1, None)])
def test_pooling_into_equal_windows_gives_their_size(tmp_path, size, windows):
    program = saved(tmp_path, nn.AdaptiveAvgPool2D(size))
    lower(program)
    pooling = computing(program)[-1]
    assert attribute(pooling, "adaptive") == (windows is None)
    if windows is not None:
        given = {op["O"][0]["%"]: op for op in program.operators if kind(op) == "full_int_array"}
        expected = list(windows) if isinstance(windows, tuple) else [windows, windows]
        for values in (attribute(given[inputs(pooling)[1]], "value"), attribute(pooling, "strides")):
            assert [item["D"] for item in values] == expected


def test_no_value_is_given_twice(tmp_path):
    scaling = [nn.Dropout(rate, mode="downscale_in_infer") for rate in (0.3, 0.4)]
    pooling = [nn.AdaptiveAvgPool2D(size) for size in (6, 2)]
    program = saved(tmp_path, nn.ReLU6(), nn.ReLU6(), *scaling, *pooling, nn.Flatten())
    lower(program)
    given = [output["%"] for op in program.operators if kind(op) != "p" for output in op["O"]]
    read = [number for op in program.operators if kind(op) != "p" for number in inputs(op)]
    parameters = [op["O"]["%"] for op in program.operators if kind(op) == "p"]
    assert len(set(given + parameters)) == len(given + parameters)
    assert set(read) <= {0, *given, *parameters}
