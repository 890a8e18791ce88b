"""A model whose layers round or not: what it answers is what the file with these layers answers."""

import numpy as np
import paddle
import pytest
from support.onnx_extras import needs_onnx
from support.processor import needs_dot_products

pytest.importorskip("onnx")
pytestmark = needs_onnx

from support import foreign  # noqa: E402

from ppcls_compress.deploy.imported import network, played, source  # noqa: E402
from ppcls_compress.deploy.onnx import calibrated, graph, inspection, runtime  # noqa: E402
from ppcls_compress.slim import quant  # noqa: E402
from ppcls_compress.slim.options import QuantOptions  # noqa: E402
from ppcls_compress.slim.quant.analysis import Rounding  # noqa: E402

IMAGES = np.random.default_rng(2).standard_normal((4, 3, foreign.SIZE, foreign.SIZE)).astype(np.float32)
PTQ = QuantOptions(name="ptq")


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    folder = tmp_path_factory.mktemp("played")
    (folder / "model.onnx").write_bytes(foreign.model().SerializeToString())
    return network.open_network(source.find(folder), IMAGES)


@pytest.fixture(scope="module")
def model(opened):
    return played.Played(opened, calibrated.fit(graph.copied(opened.graph), opened.folded, PTQ, [IMAGES]))


def answer(model, *rounded):
    with Rounding(model) as flags:
        flags.round_only(rounded)
        return model(paddle.to_tensor(IMAGES)).numpy()


def test_without_rounding_it_answers_as_the_model(opened, model):
    np.testing.assert_allclose(answer(model), opened.runner()(IMAGES), rtol=1e-5, atol=1e-5)


@needs_dot_products
def test_with_all_layers_rounded_it_answers_as_the_exported_file(opened, model, tmp_path):
    whole = calibrated.calibrate(graph.copied(opened.graph), opened.folded, PTQ, [IMAGES])
    whole.write(tmp_path, layout="openvino", output="logits", images=[IMAGES])
    expected = runtime.load(tmp_path / "model.onnx", "openvino", threads=1).run(IMAGES)
    found = answer(model, "stem", "depth", "head")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * np.abs(expected).max())
    assert np.abs(found - opened.runner()(IMAGES)).max() > 0
    seen = inspection.inspect(tmp_path / "model.onnx", model, IMAGES)
    assert ([tensor.layer for tensor in seen.tensors], seen.astray) == (["stem", "depth", "head"], None)


def test_one_layer_rounds_alone_and_each_reads_what_the_graph_gives_it(opened, model):
    read = {}
    found = quant.quant_layers(model)

    def look(name):
        def note(_, given, named):
            read[name] = given[0].numpy()

        return note

    hooks = [layer.register_forward_pre_hook(look(name), with_kwargs=True) for name, layer in found.items()]
    alone = answer(model, "head")
    for hook in hooks:
        hook.remove()
    head = found["head"]
    expected = head.compute(head.quantized_input(paddle.to_tensor(read["head"])), head.quantized_weight()).numpy()
    np.testing.assert_allclose(alone, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(read["stem"], IMAGES)
