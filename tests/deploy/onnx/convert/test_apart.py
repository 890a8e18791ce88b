import numpy as np
import paddle
import pytest

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

import onnx
from paddle import nn

from ppcls_compress.deploy.onnx.convert.apart import put_back, told_apart
from ppcls_compress.deploy.program import Program
from ppcls_compress.slim.tracing import save_program


@pytest.fixture
def saved(tmp_path):
    """A network with three weights of equal values, and its parameters by name."""
    model = nn.Sequential(*(nn.Conv2D(3, 3, 3, padding=1) for _ in range(4)))
    for layer in model[1:]:
        layer.weight.set_value(model[0].weight)
    model[3].weight.set_value(model[0].weight * 2)
    save_program(model, str(tmp_path / "model"), [paddle.static.InputSpec([None, 3, 8, 8], "float32", "image")])
    values = {parameter.name: parameter.numpy() for parameter in model.parameters()}
    return Program.read(tmp_path / "model.json"), tmp_path / "model.pdiparams", values


def read(path, program):
    """The arrays in a file of parameters, read in the order of their names."""
    arrays, data, position = {}, path.read_bytes(), 0
    for name, (_, shape, size) in program.parameters().items():
        position += 16
        position += 4 + int.from_bytes(data[position : position + 4], "little")
        arrays[name] = np.frombuffer(data[position : position + size], np.float32).reshape(shape)
        position += size
    assert position == len(data)
    return arrays


def test_equal_parameters_differ_for_a_while(saved):
    program, path, values = saved
    before = path.read_bytes()
    with told_apart(path, program) as originals:
        within = read(path, program)
        assert len({array.tobytes() for array in within.values()}) == len(values)
        assert len(originals) == 2 + 3  # the second and the third weight, and all biases but the first
        for name, array in within.items():
            np.testing.assert_array_equal(array.reshape(-1)[1:], values[name].reshape(-1)[1:])
    assert path.read_bytes() == before


def test_a_failure_within_leaves_the_file_as_it_was(saved):
    program, path, _ = saved
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError), told_apart(path, program):
        raise ZeroDivisionError
    assert path.read_bytes() == before


def test_what_was_converted_gets_its_values_back(saved, tmp_path):
    program, path, values = saved
    with told_apart(path, program) as originals:
        tensors = [onnx.numpy_helper.from_array(array, name) for name, array in read(path, program).items()]
    model = onnx.helper.make_model(onnx.helper.make_graph([], "graph", [], [], tensors))
    onnx.save(model, str(tmp_path / "model.onnx"))
    put_back(tmp_path / "model.onnx", originals)
    for tensor in onnx.load(str(tmp_path / "model.onnx")).graph.initializer:
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), values[tensor.name])
