import numpy as np
import pytest
from support.onnx_extras import needs_onnx

pytest.importorskip("onnx")
pytestmark = needs_onnx

from support import foreign  # noqa: E402

from ppcls_compress.deploy.imported import network, quantize, source  # noqa: E402
from ppcls_compress.deploy.imported.prepare import Preparation  # noqa: E402
from ppcls_compress.slim.options import QuantOptions  # noqa: E402

IMAGES = np.random.default_rng(2).standard_normal((3, 3, foreign.SIZE, foreign.SIZE)).astype(np.float32)


@pytest.mark.parametrize(
    ("ending", "gives", "kind", "told"),
    [
        ("Softmax <axis = 1> (g)", None, "classes", "Topk"),
        ("Sigmoid (g)", None, "labels", "MultiLabelThreshOutput"),
        ("Identity (g)", None, "classes", "Topk"),
        ("Identity (g)", "features", "features", "FeatureOutput"),
    ],
)
def test_what_a_model_gives_decides_what_is_compared_and_told(tmp_path, ending, gives, kind, told):
    proto = foreign.model(("Softmax <axis = 1> (g)", ending))
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    found = network.open_network(source.find(tmp_path), IMAGES, gives=gives)
    made = quantize.quantize(found, Preparation(()), QuantOptions(name="ptq"), [IMAGES], IMAGES, "photos")
    assert (made.reference.kind, type(made.description.post_process).__name__) == (kind, told)
    assert made.reference.source == "3 images of photos"
