import numpy as np
import pytest

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

import onnx

from ppcls_compress.deploy.onnx.convert import epsilons
from ppcls_compress.deploy.program import Program
from ppcls_compress.errors import UserError


def program(*layers):
    """A program of normalizations, (kind, epsilon) each."""
    operators = [
        {"#": f"1.{kind}", "A": [{"N": "epsilon", "AT": {"#": "0.a_f64", "D": epsilon}}], "I": [], "O": []}
        for kind, epsilon in layers
    ]
    return Program({"program": {"regions": [{"blocks": [{"ops": operators}]}]}})


def model(*nodes):
    """A graph of normalizations, (operator, epsilon or None) each, with something between them."""
    made = []
    for op, epsilon in nodes:
        attributes = {} if epsilon is None else {"epsilon": epsilon}
        made += [onnx.helper.make_node("Relu", ["x"], ["y"]), onnx.helper.make_node(op, ["x"], ["y"], **attributes)]
    return onnx.helper.make_model(onnx.helper.make_graph(made, "graph", [], []))


def found(converted):
    values = [
        [item.f for item in node.attribute if item.name == "epsilon"]
        for node in converted.graph.node
        if node.op_type.endswith("Normalization")
    ]
    return np.asarray(values, np.float32).reshape(-1)


LAYERS = (("batch_norm_", 7e-4), ("group_norm", 2e-4), ("instance_norm", 3e-4), ("layer_norm", 4e-4))
NODES = ("BatchNormalization", "InstanceNormalization", "InstanceNormalization", "LayerNormalization")


@pytest.mark.parametrize("planted", [1.3e17, -0.0175, 0.0, 1e-5, None])
@pytest.mark.parametrize("place", range(4))
def test_a_wrong_epsilon_is_replaced_by_that_of_the_layer(planted, place):
    written = [(op, epsilon) for op, (_, epsilon) in zip(NODES, LAYERS, strict=True)]
    written[place] = (NODES[place], planted)
    converted = model(*written)
    assert epsilons.take_from(program(*LAYERS), converted) == 1
    np.testing.assert_array_equal(found(converted), np.float32([epsilon for _, epsilon in LAYERS]))


def test_right_epsilons_stay():
    converted = model(*((op, epsilon) for op, (_, epsilon) in zip(NODES, LAYERS, strict=True)))
    before = converted.SerializeToString()
    assert epsilons.take_from(program(*LAYERS), converted) == 0
    assert converted.SerializeToString() == before


@pytest.mark.parametrize(
    "nodes", [NODES[:3], (*NODES, "BatchNormalization"), (NODES[1], NODES[0], *NODES[2:])], ids=str
)
def test_other_normalizations_than_those_of_the_network_are_refused(nodes):
    with pytest.raises(UserError, match="^normalizations expected for batch_norm, group_norm, instance_"):
        epsilons.take_from(program(*LAYERS), model(*((op, 1e-5) for op in nodes)))
