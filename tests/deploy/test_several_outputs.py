"""Networks that give dicts, nested or several tensors: one is exported, and which one is told."""

import re

import numpy as np
import paddle
import pytest
from paddle import nn
from support.exporting import export
from support.onnx_extras import need
from support.processor import needs_dot_products

from ppcls_compress.deploy import formats, sessions, verify
from ppcls_compress.errors import UserError
from ppcls_compress.slim import QAT, quant
from ppcls_compress.slim.options import QuantOptions

SHAPE = (3, 8, 8)
X = np.random.default_rng(0).standard_normal((8, *SHAPE)).astype("float32")
HOW = {
    "dict": (lambda logits, aux: {"logits": logits, "aux": aux}, "logits, aux", "logits"),
    "named": (lambda logits, aux: {"features": aux, "logits": logits, "note": "text"}, "features, logits", "logits"),
    "nested": (lambda logits, aux: {"out": [logits, {"aux": aux}]}, r"out\[0\], out\[1\].aux", r"out\[0\]"),
    "several": (lambda logits, aux: (logits, aux), r"\[0\], \[1\]", r"\[0\]"),
    "one": (lambda logits, aux: {"anything": [logits]}, None, None),
}


class Several(nn.Layer):
    def __init__(self, how):
        super().__init__()
        self.conv, self.relu = nn.Conv2D(3, 8, 3), Wrapped(nn.ReLU())
        self.fc, self.aux = nn.Linear(8, 5), nn.Linear(8, 4)
        self.how = how

    def forward(self, x):
        x = self.relu(self.conv(x))["inner"][0]
        x = (x + x).mean([2, 3])
        return self.how(self.fc(x), self.aux(x))


class Wrapped(nn.Layer):
    """Gives its tensor in a list in a dict."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return {"inner": [self.layer(x)], "note": "text"}


def network(case):
    paddle.seed(2)
    net = Several(HOW[case][0])
    net.eval()
    return net


def logits(net):
    x = net.relu(net.conv(paddle.to_tensor(X)))["inner"][0]
    return net.fc((x + x).mean([2, 3])).numpy()


@pytest.mark.parametrize("case", HOW)
@pytest.mark.parametrize("options", [None, {"name": "ptq"}, {"name": "pact", "placement": "deploy"}])
def test_one_tensor_is_exported_and_the_note_says_which(tmp_path, case, options):
    model, record = network(case), None
    if options:
        model, step = quant.prepare(model, QuantOptions(**options), inputs=[[1, *SHAPE]])
        quant.calibrate(model, [paddle.to_tensor(X)])
        model.eval()
        record = {"version": 1, "steps": [step]}
    result = export(model, tmp_path, image_shape=SHAPE, output="logits", record=record)
    found = sessions.open_session(result.artifact, 1).run(X)
    np.testing.assert_allclose(found, logits(model), atol=1e-5)
    reference = verify.reference(model, X)
    np.testing.assert_allclose(reference.logits, logits(model), atol=1e-6)
    notes = [note for note in result.artifact.description.notes if "Several gives" in note]
    _, all_of_them, chosen = HOW[case]
    assert len(notes) == (chosen is not None)
    if chosen:
        assert re.fullmatch(f"Several gives {all_of_them}: the exported network gives {chosen} alone", notes[0])


@pytest.mark.parametrize("name", ["onnx-ort", "onnx-openvino", "onednn"])
@needs_dot_products
def test_every_format_takes_the_same(tmp_path, name):
    need(formats.get(name))
    model, step = quant.prepare(network("named"), QuantOptions(name="qat"), inputs=[[1, *SHAPE]])
    quant.calibrate(model, [paddle.to_tensor(X)])
    model.eval()
    record = {"version": 1, "steps": [step]}
    result = export(model, tmp_path, image_shape=SHAPE, output="logits", record=record, calibration=[X], format=name)
    found = sessions.open_session(result.artifact, 1).run(X)
    np.testing.assert_allclose(found, logits(model), atol=0.05)


class Pair(nn.Layer):
    """Two inputs, of which one may come in a dict, and two outputs."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2D(3, 4, 3), nn.Conv2D(1, 4, 3)
        self.c = nn.Conv2D(4, 2, 1)

    def forward(self, x, given):
        z = self.a(x) + self.b(given["mask"])
        return {"z": self.c(z), "note": "text", "w": (z,)}


def test_several_inputs_are_calibrated_and_saved_whole(tmp_path):
    net = Pair()
    net.eval()
    x, mask = paddle.to_tensor(X), paddle.rand([8, 1, 8, 8])
    expected = net(x, {"mask": mask})
    model = QAT({"placement": "deploy"}).quantize(net, inputs=[[1, *SHAPE], {"mask": [1, 1, 8, 8]}])
    for batch in ((x, {"mask": mask}), [x, {"mask": mask}]):
        quant.calibrate(model, [batch])
    model.eval()
    found = model(x, {"mask": mask})
    for key, tensor in (("z", found["z"]), ("w", found["w"][0])):
        wanted = expected[key] if key == "z" else expected[key][0]
        assert 0 < np.abs(tensor.numpy() - wanted.numpy()).max() < 0.05 * np.abs(wanted.numpy()).max()
    spec = [paddle.static.InputSpec([None, *SHAPE]), {"mask": paddle.static.InputSpec([None, 1, 8, 8])}]
    QAT().save_quantized_model(model, str(tmp_path / "pair"), spec)
    saved = paddle.jit.load(str(tmp_path / "pair"))(x, mask)
    # Paddle gives the values of a dict in the order of their keys.
    np.testing.assert_allclose(saved[0].numpy(), found["w"][0].numpy(), atol=1e-5)
    np.testing.assert_allclose(saved[-1].numpy(), found["z"].numpy(), atol=1e-5)


def test_batches_that_do_not_fit_are_told():
    model = QAT().quantize(Pair())
    with pytest.raises(
        UserError, match=r"a batch of 3 entries does not fit Pair.forward: too many positional arguments"
    ):
        quant.calibrate(model, [[paddle.to_tensor(X), {"mask": None}, paddle.zeros([8])]])
    labelled = QAT().quantize(nn.Sequential(nn.Conv2D(3, 4, 3)))
    with pytest.raises(UserError, match=r"a batch of 2 entries does not fit Sequential.forward: .* without labels"):
        quant.calibrate(labelled, [[paddle.to_tensor(X), paddle.zeros([8])]])
    quant.calibrate(labelled, [[paddle.to_tensor(X)]])


@pytest.mark.parametrize(
    ("net", "says"),
    [
        (Pair, r"given images alone, here \[2, 3, 8, 8\]: Pair fails: TypeError: .*missing 1 required"),
        (lambda: nn.Sequential(nn.Conv2D(4, 2, 1)), r"here \[2, 3, 8, 8\]: 0 \(Conv2D\) fails: ValueError: .*channel"),
        (lambda: Several(lambda logits, aux: {"note": "text"}), "gives no tensor, but dict: nothing to export"),
    ],
)
def test_what_cannot_be_exported_is_one_line(tmp_path, net, says):
    with pytest.raises(UserError, match=says) as caught:
        export(net(), tmp_path / "out", image_shape=SHAPE)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match=says.replace("2, 3", "8, 3")):
        verify.reference(net(), X)


def test_what_has_no_number_for_each_class_is_not_compared():
    net = nn.Sequential(nn.Conv2D(3, 2, 1))
    with pytest.raises(UserError, match=r"Sequential: gives \[8, 2, 8, 8\] for 8 images, which cannot be compared"):
        verify.reference(net, X)
