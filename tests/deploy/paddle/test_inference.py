import subprocess
import sys

import numpy as np
import paddle
import pytest
from paddle import inference, nn
from support.onednn_networks import EXACT, difference

from ppcls_compress import models
from ppcls_compress.deploy.kinds import Job
from ppcls_compress.deploy.network import logits_of
from ppcls_compress.deploy.paddle import export as paddle_export
from ppcls_compress.deploy.paddle import inference as paddle_inference
from ppcls_compress.models.swin_transformer import SwinTransformer
from ppcls_compress.slim import quant, recipe
from ppcls_compress.slim.options import QuantOptions, SlimOptions

SHAPE = (3, 32, 32)


def images(count):
    return np.random.default_rng(0).standard_normal((count, *SHAPE), np.float32)


def quantized(model):
    quant.prepare(model, QuantOptions(name="pact"))
    quant.calibrate(model, [paddle.to_tensor(images(4))])
    return quant.to_inference(model)


def reflecting():
    return nn.Sequential(nn.Conv2D(3, 4, 3, padding=1, padding_mode="reflect"), nn.Flatten(), nn.Linear(4096, 5))


def resizing(**options):
    return nn.Sequential(nn.Conv2D(3, 4, 3), nn.Upsample(**options), nn.AdaptiveAvgPool2D(2), nn.Flatten())


@pytest.mark.parametrize(
    ("network", "off"),
    [
        (lambda: models.build("PPLCNet_x0_25", class_num=5), False),
        (lambda: quantized(models.build("PPLCNet_x0_25", class_num=5)), True),
        (lambda: models.build("CIFARResNet8", class_num=5), True),
        (reflecting, True),
        (lambda: resizing(scale_factor=2), True),
        (lambda: resizing(size=[40, 40], mode="bilinear"), True),
        (lambda: resizing(scale_factor=2, mode="bicubic"), False),
    ],
    ids=["float", "quantized", "channels padded", "pixels padded", "doubled", "resized", "doubled smoothly"],
)
def test_what_onednn_may_run(tmp_path, monkeypatch, network, off):
    model, deleted = network(), []
    paddle_export.write(Job(model, SHAPE, "logits", None), tmp_path)
    monkeypatch.setattr(inference.Config, "delete_pass", lambda config, name: deleted.append(name))
    monkeypatch.setattr(inference, "create_predictor", lambda config: None)
    paddle_inference.create(tmp_path, 1)
    assert deleted == (["onednn_placement_pass"] if off else [])


@pytest.mark.parametrize(
    ("onednn", "told"),
    [
        ("all", []),
        ("apart", ["matmul_add_act_fuse_pass"]),
        ("fused", ["onednn_placement_pass"]),
        ("off", ["off"]),
    ],
)
def test_less_runs_on_onednn_when_told(tmp_path, monkeypatch, onednn, told):
    paddle_export.write(Job(models.build("PPLCNet_x0_25", class_num=5), SHAPE, "logits", None), tmp_path)
    done = []
    monkeypatch.setattr(inference.Config, "delete_pass", lambda config, name: done.append(name))
    monkeypatch.setattr(inference.Config, "disable_mkldnn", lambda config: done.append("off"))
    monkeypatch.setattr(inference, "create_predictor", lambda config: None)
    paddle_inference.create(tmp_path, 1, onednn)
    assert done == told


@pytest.mark.parametrize("name", ["MobileNetV3_small_x0_35", "PPLCNet_x0_25", "CIFARMobileNetV3"])
def test_everything_on_onednn_computes_the_same(tmp_path, name):
    model = models.build(name, class_num=5)
    paddle_export.write(Job(model, SHAPE, "logits", None), tmp_path)
    session = paddle_inference.PaddleSession(paddle_inference.create(tmp_path, 1))
    for count in (2, 5):
        np.testing.assert_allclose(session.run(images(count)), logits_of(model, images(count)), rtol=1e-3, atol=1e-4)


def test_attention_in_windows_runs_on_onednn_with_products_and_sums_apart(tmp_path):
    paddle.seed(0)
    model = SwinTransformer(8, (2,), 2, 2)
    paddle_export.write(Job(model, (3, 16, 16), "logits", None), tmp_path)
    session = paddle_inference.PaddleSession(paddle_inference.create(tmp_path, 1, "apart"))
    for count in (2, 5):
        given = np.random.default_rng(count).standard_normal((count, 3, 16, 16), np.float32)
        np.testing.assert_allclose(session.run(given), logits_of(model, given), rtol=1e-4, atol=1e-6)


ON_ONEDNN = """
import sys
import numpy as np
from paddle import inference

config = inference.Config(*(f"{sys.argv[1]}/inference.{end}" for end in ("json", "pdiparams")))
config.disable_gpu()
config.enable_mkldnn()
predictor = inference.create_predictor(config)
(name,) = predictor.get_input_names()
predictor.get_input_handle(name).reshape([1, 3, 32, 32])
predictor.get_input_handle(name).copy_from_cpu(np.zeros([1, 3, 32, 32], np.float32))
predictor.run()
"""


@pytest.mark.parametrize("options", [{"scale_factor": 2}, {"size": [40, 40], "mode": "bilinear"}], ids=str)
def test_resizing_is_kept_off_onednn_which_it_ends_and_the_export_says_so(tmp_path, options):
    paddle.seed(0)
    model = resizing(**options)
    written = paddle_export.write(Job(model, SHAPE, "logits", None), tmp_path)
    (note,) = written.notes
    assert "PaddlePaddle issue 77340" in note
    assert 'delete_pass("onednn_placement_pass")' in note
    session = paddle_inference.PaddleSession(paddle_inference.create(tmp_path, 1))
    np.testing.assert_allclose(session.run(images(3)), logits_of(model, images(3)), rtol=1e-4, atol=1e-5)
    if paddle.__version__ in ("3.3.0", "3.3.1"):
        done = subprocess.run([sys.executable, "-c", ON_ONEDNN, str(tmp_path)], capture_output=True, text=True)
        assert done.returncode != 0
        assert "ConvertPirAttribute2RuntimeAttribute not support" in done.stderr


def test_a_leaky_relu_is_not_fused_with_its_convolution_which_ends_onednn(tmp_path):
    paddle.seed(0)
    model = nn.Sequential(nn.Conv2D(3, 8, 3), nn.LeakyReLU(0.1), nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(8, 5))
    (note,) = paddle_export.write(Job(model, SHAPE, "logits", None), tmp_path).notes
    assert 'delete_pass("conv_activation_onednn_fuse_pass")' in note
    session = paddle_inference.PaddleSession(paddle_inference.create(tmp_path, 1))
    np.testing.assert_allclose(session.run(images(3)), logits_of(model, images(3)), rtol=1e-4, atol=1e-5)


class Table(nn.Layer):
    """Weighs channels by what a layer makes of a table, as Swin Transformer V2 does with positions."""

    def __init__(self):
        super().__init__()
        self.conv, self.positions = nn.Conv2D(3, 8, 3), nn.Linear(2, 8)
        self.register_buffer("table", paddle.randn([5, 2]))

    def forward(self, images):
        return self.conv(images).mean([2, 3]) * nn.functional.sigmoid(self.positions(self.table)).sum(0)


def test_a_quantized_layer_that_reads_a_constant_is_computed_with_the_images(tmp_path):
    paddle.seed(0)
    model, record = recipe.compress(
        Table(),
        SlimOptions(quant=QuantOptions(name="pact")),
        [[1, *SHAPE]],
        context=recipe.Context(lambda: [paddle.to_tensor(images(4))]),
    )
    model.eval()
    (step,) = record["steps"]
    written = paddle_export.write(Job(model, SHAPE, "logits", step), tmp_path)
    assert 'delete_pass("constant_folding_pass")' in written.notes[-1]
    session = paddle_inference.PaddleSession(paddle_inference.create(tmp_path, 1))
    assert difference(session.run(images(3)), logits_of(model, images(3))) < EXACT
