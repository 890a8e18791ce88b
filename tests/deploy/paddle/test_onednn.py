import re

import numpy as np
import paddle
import pytest
from paddle import nn
from support.onednn_networks import CHANNELS, EXACT, NETWORKS, SIZE, Between, Residual, block, difference
from support.processor import needs_dot_products

from ppcls_compress import models
from ppcls_compress.deploy import fresh
from ppcls_compress.deploy.kinds import Job
from ppcls_compress.deploy.network import Deployed, logits_of
from ppcls_compress.deploy.paddle import export as paddle_export
from ppcls_compress.deploy.paddle import onednn, onednn_kernels, onednn_ops, onednn_program
from ppcls_compress.deploy.paddle.inference import PaddleSession
from ppcls_compress.errors import NoFormError, UserError
from ppcls_compress.slim import prune, quant
from ppcls_compress.slim.graph import capture
from ppcls_compress.slim.options import PruneOptions, QuantOptions


def images(count=8, size=SIZE, seed=0):
    return np.random.default_rng(seed).standard_normal((count, CHANNELS, size, size), np.float32)


def settled(model, size=SIZE):
    """Batch norms that have seen images."""
    model.train()
    with paddle.no_grad():
        for seed in range(4):
            model(paddle.to_tensor(images(size=size, seed=seed)))
    model.eval()
    return model


def quantized(model, size=SIZE, **options):
    # Its kernels have symmetric grids; others are written as the narrowest such ones, which are coarser.
    plain = QuantOptions(**{"name": "pact", **options}).as_paddleslim()
    model, _ = quant.prepare(settled(model, size), plain, inputs=[[1, CHANNELS, size, size]])
    quant.calibrate(model, [paddle.to_tensor(images(size=size))])
    return model


def exported(model, folder, size=SIZE):
    onednn.export(model, folder, image_shape=(CHANNELS, size, size), ending="none")
    return PaddleSession(onednn.create(folder, 1))


def in_child(folder, batch):
    """Outputs from a fresh process."""
    np.save(folder / "images.npy", batch)
    fresh.run_module("support.onednn_child", folder)
    return np.load(folder / "outputs.npy")


@needs_dot_products
@pytest.mark.parametrize("name", NETWORKS)
def test_computes_what_training_saw(tmp_path, name):
    paddle.seed(0)
    model = quantized(NETWORKS[name]())
    session = exported(model, tmp_path)
    for count in (3, 8):
        expected = logits_of(model, images(count))
        assert difference(session.run(images(count)), expected) < EXACT


def test_every_operator_is_tried():
    inputs = [[7, CHANNELS, SIZE, SIZE]]
    tried = {
        op.name
        for network in NETWORKS.values()
        for op in capture(Deployed(settled(network()), ending="none"), inputs).ops
    }
    assert not set(onednn_ops.RULES) - tried


OPTIONS = {
    "moving_average": {"grid": "moving_average"},
    "paddleslim": {"compat": "paddleslim"},
    "two_sided": {"unsigned": False},
    "lsq": {"name": "lsq"},
    "qat": {"name": "qat"},
    "per_tensor": {"name": "qat", "weight_quantize_type": "abs_max"},
    "ptq": {"name": "ptq"},
}


@needs_dot_products
@pytest.mark.parametrize("name", OPTIONS)
def test_every_method(tmp_path, name):
    paddle.seed(0)
    model = quantized(Residual(nn.ReLU), **OPTIONS[name])
    expected = logits_of(model, images())
    # Signed grids behind a ReLU are twice as fine here. Where no integer of a channel is 127, as LSQ allows, the passes
    # round its weights once more.
    assert difference(exported(model, tmp_path).run(images()), expected) < (0.1 if name == "lsq" else 0.03)


@needs_dot_products
def test_alpha_that_binds(tmp_path):
    model = settled(quantized(Residual(nn.ReLU), compat="paddleslim"))
    layers = quant.quant_layers(model)
    for layer in layers.values():
        layer._act_preprocess.alpha.set_value(paddle.full([1], 0.5))
    expected = logits_of(model, images())
    assert difference(exported(model, tmp_path).run(images()), expected) < 0.03
    notes = onednn.export(model, tmp_path, image_shape=(CHANNELS, SIZE, SIZE)).notes
    assert [note.split(":")[0] for note in notes] == list(layers)
    assert "alpha 0.5 binds" in notes[0]


def test_weights_that_are_rounded_again_are_told(tmp_path):
    model = quantized(NETWORKS["relu"](), name="lsq")
    for layer in quant.quant_layers(model).values():
        # As training may leave it: no integer of a channel is 127.
        for value in (layer._fake_quant_weight.s, layer._fake_quant_weight._previous):
            value.set_value(value * 1.5)
    written = onednn.export(model, tmp_path, image_shape=(CHANNELS, SIZE, SIZE))
    assert written.notes[0].startswith("0.0 and 1 more layers: Paddle's passes round")
    assert not onednn.export(quantized(NETWORKS["relu"]()), tmp_path, image_shape=(CHANNELS, SIZE, SIZE)).notes


def test_placement_deploy(tmp_path):
    paddle.seed(0)
    model = quantized(models.build("CIFARResNet8", class_num=7), placement="deploy")
    written = onednn.export(model, tmp_path, image_shape=(CHANNELS, SIZE, SIZE), ending="none")
    assert any("placement: deploy" in note for note in written.notes)
    found = PaddleSession(onednn.create(tmp_path, 1)).run(images())
    assert difference(found, logits_of(model, images())) < 0.1


class Tied(nn.Layer):
    """Two convolutions of one weight on other ranges, and a linear layer whose weight is read once more, turned."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.Conv2D(CHANNELS, CHANNELS, 3, padding=1) for _ in range(2))
        self.second.weight = self.first.weight
        self.wide, self.head = nn.Linear(CHANNELS, 2 * CHANNELS), nn.Linear(CHANNELS, 5)

    def forward(self, x):
        x = nn.functional.relu(self.second(0.1 * nn.functional.relu(self.first(x))))
        x = nn.functional.relu(self.wide(x.mean(axis=[2, 3])))
        return self.head(paddle.matmul(x, self.wide.weight, transpose_y=True))


@needs_dot_products
def test_weights_that_others_read_too_are_on_the_grid_of_the_layer_that_reads(tmp_path):
    paddle.seed(0)
    model = quantized(Tied())
    expected = logits_of(model, images())
    assert difference(exported(model, tmp_path).run(images()), expected) < EXACT


@needs_dot_products
def test_channel_of_zeros(tmp_path):
    model = settled(nn.Sequential(block(3, 16, act=nn.ReLU), block(16, 8)))
    weight = model[0][0].weight.numpy()
    weight[3] = 0
    model[0][0].weight.set_value(weight)
    model = quantized(model)
    found = exported(model, tmp_path).run(images())
    assert difference(found, logits_of(model, images())) < EXACT


@needs_dot_products
def test_pruned(tmp_path):
    paddle.seed(0)
    model, _ = prune.prune(
        models.build("CIFARResNet8", class_num=7), PruneOptions(pruned_ratio=0.5), [[1, CHANNELS, SIZE, SIZE]]
    )
    model = quantized(model)
    found = exported(model, tmp_path).run(images())
    assert difference(found, logits_of(model, images())) < 0.01


@pytest.mark.slow
def test_integer_kernels_run(tmp_path):
    model = quantized(models.build("CIFARResNet8", class_num=7), skip=["blocks.1.*"])
    written = onednn.export(model, tmp_path, image_shape=(CHANNELS, SIZE, SIZE), ending="none")
    assert sorted(written.quantized) == sorted(quant.quant_layers(model))
    assert onednn_kernels.count(tmp_path) == {"Conv": (len(written.quantized), len(written.quantized) + 2)}


def test_kernels_of_a_program_that_does_not_run(tmp_path):
    with pytest.raises(UserError, match="failed"):
        onednn_kernels.count(tmp_path)


def test_kernels_of_a_program_that_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr(onednn_kernels, "_TIME_LIMIT", 0.01)
    with pytest.raises(UserError, match="stopped, because it took longer than"):
        onednn_kernels.count(tmp_path)


FAMILIES = [
    "CIFARResNet8",
    "CIFARMobileNetV3",
    "MobileNetV3_small_x0_35",
    "PPLCNet_x0_25",
    "ResNet18_vd",
    "PPHGNet_tiny",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_families_in_a_fresh_process(tmp_path, name):
    paddle.seed(0)
    model = quantized(models.build(name, class_num=7), size=32)
    written = onednn.export(model, tmp_path, image_shape=(CHANNELS, 32, 32), ending="none")
    assert sorted(written.quantized) == sorted(quant.quant_layers(model))
    batch = images(size=32)
    found, expected = in_child(tmp_path, batch), logits_of(model, batch)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.98


def test_size(tmp_path):
    network = nn.Sequential(block(3, 64, act=nn.ReLU), block(64, 256), block(256, 64, act=nn.ReLU))
    (tmp_path / "float").mkdir()
    paddle_export.write(Job(settled(network), (CHANNELS, SIZE, SIZE), "logits", None), tmp_path / "float")
    (tmp_path / "int8").mkdir()
    exported(quantized(network), tmp_path / "int8")
    sizes = [sum(path.stat().st_size for path in (tmp_path / name).iterdir()) for name in ("int8", "float")]
    assert sizes[0] < 0.27 * sizes[1]


def test_probabilities(tmp_path):
    model = quantized(NETWORKS["linear"]())
    onednn.export(model, tmp_path, image_shape=(CHANNELS, SIZE, SIZE))
    found = PaddleSession(onednn.create(tmp_path, 1)).run(images())
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_nothing_else_changes(tmp_path):
    model = quantized(Residual(nn.ReLU))
    before = {name: value.numpy() for name, value in model.state_dict().items()}
    modes = [layer.training for layer in model.sublayers(include_self=True)]
    exported(model, tmp_path)
    assert paddle.in_dynamic_mode()
    assert paddle.get_flags("FLAGS_enable_pir_api")["FLAGS_enable_pir_api"]
    assert [layer.training for layer in model.sublayers(include_self=True)] == modes
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])
    assert sorted(path.name for path in tmp_path.iterdir()) == [onednn.PARAMETERS, onednn.NETWORK]


class Sine(nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(3, 4, 3)

    def forward(self, x):
        return paddle.sin(self.conv(x))


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (
            NETWORKS["relu"],
            {"weight_bits": 4},
            "0.0, 1.0: 4-bit weights and 8-bit activations; oneDNN",
        ),
        (NETWORKS["relu"], {"activation_bits": 12}, "8-bit weights and 12-bit activations"),
        (NETWORKS["relu"], {"name": "qat", "activation_quantize_type": "abs_max"}, "0.0, 1.0: finds the range"),
        (Sine, {}, "operator sin: has no form for oneDNN"),
        (lambda: Between(lambda x: x * x.mean()), {}, "operator mean across images: has no form for oneDNN"),
        (lambda: Between(lambda x: x * x.mean([-4])), {}, "operator mean across images: has no form for oneDNN"),
        (lambda: Between(lambda x: paddle.matmul(x, x)), {}, "operator matmul of images: has no form for oneDNN"),
    ],
)
def test_what_has_no_form_is_told(tmp_path, network, options, message):
    model = quantized(network(), **options)
    with pytest.raises(NoFormError, match=re.escape(message)):
        onednn.export(model, tmp_path, image_shape=(CHANNELS, SIZE, SIZE))
    assert not list(tmp_path.iterdir())


@needs_dot_products
def test_padding_by_the_border_has_a_form(tmp_path):
    model = quantized(nn.Sequential(block(3, 8), nn.Conv2D(8, 4, 3, padding=1, padding_mode="reflect")))
    assert difference(exported(model, tmp_path).run(images()), logits_of(model, images())) < EXACT


@pytest.mark.parametrize("error", [KeyError("axis"), RuntimeError("(PreconditionNotMet) no such attribute\n  [Hint]")])
def test_what_paddle_refuses_names_the_operator(tmp_path, monkeypatch, error):
    def add(self, kind, *args, **options):
        if kind == "pool2d":
            raise error
        return original(self, kind, *args, **options)

    original = onednn_program.Program.add
    monkeypatch.setattr(onednn_program.Program, "add", add)
    model = quantized(NETWORKS["max_pool"]())
    with pytest.raises(NoFormError, match=r"operator pool2d in layer 1: has no form for oneDNN as it is used here: .+"):
        onednn.export(model, tmp_path, image_shape=(CHANNELS, SIZE, SIZE))


def test_float_model(tmp_path):
    with pytest.raises(UserError, match="no quantized layer"):
        onednn.export(nn.Sequential(nn.Conv2D(3, 4, 3)), tmp_path, image_shape=(CHANNELS, SIZE, SIZE))
