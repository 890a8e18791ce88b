from __future__ import annotations

import numpy as np
import paddle
import pytest

from ppcls_compress import io, models
from ppcls_compress.download import cache_path
from ppcls_compress.errors import UserError
from ppcls_compress.models import catalog, weights
from ppcls_compress.models.weights import load_into, needs_download, resolve


def small(**options):
    return models.build("CIFARResNet8", **options)


def arrays(net):
    return {name: tensor.numpy() for name, tensor in net.state_dict().items()}


@pytest.fixture
def state():
    paddle.seed(1)
    return arrays(small())


def assert_unchanged(net, before):
    for name, array in arrays(net).items():
        np.testing.assert_array_equal(array, before[name])


def test_loads_everything(state):
    net = small()
    report = load_into(net, state, source="a.pdparams")
    assert_unchanged(net, state)
    assert str(report) == f"{len(state)} tensors loaded from a.pdparams"
    assert report.reinitialized == report.ignored == ()


def test_loads_a_file_of_paddleclas_users(tmp_path, state):
    paddle.save({name: paddle.to_tensor(array) for name, array in state.items()}, str(tmp_path / "best.pdparams"))
    net = small()
    load_into(net, io.read_state(tmp_path / "best.pdparams"), source="best.pdparams")
    assert_unchanged(net, state)


@pytest.mark.parametrize("name", ["CIFARResNet8", "squeezenet1_1", "mobilenet_v3_small", "densenet121"])
def test_a_classifier_of_another_class_count_starts_afresh(name):
    before, net = arrays(models.build(name, class_num=7)), models.build(name, class_num=3)
    fresh = arrays(net)
    report = load_into(net, before, source="a.pdparams")
    assert len(report.reinitialized) == 2
    assert f"starts afresh: {', '.join(report.reinitialized)}" in str(report)
    assert report.loaded == len(before) - 2
    for parameter, array in arrays(net).items():
        expected = fresh if parameter in report.reinitialized else before
        np.testing.assert_array_equal(array, expected[parameter])


def test_a_classifier_of_another_class_count_is_an_error_when_asked_for(state):
    net = small(class_num=3)
    before = arrays(net)
    with pytest.raises(UserError) as error:
        load_into(net, state, source="a.pdparams", reinit_head=False)
    assert str(error.value) == (
        "a.pdparams: does not fit the model: 2 unlike the model's: fc.weight ([64, 10] in the file, [64, 3] in the "
        "model), fc.bias ([10] in the file, [3] in the model); is class_num right?"
    )
    assert_unchanged(net, before)


def test_a_classifier_that_differs_in_more_than_its_classes_is_an_error(state):
    state["fc.weight"] = np.zeros((32, 7), "float32")
    state["fc.bias"] = np.zeros(7, "float32")
    with pytest.raises(UserError, match=r"fc\.weight \(\[32, 7\] in the file, \[64, 10\] in the model\)"):
        load_into(small(), state, source="a.pdparams")
    state["fc.weight"] = np.zeros((64, 8), "float32")
    with pytest.raises(UserError, match=r"fc\.weight .*fc\.bias \(\[7\] in the file"):
        load_into(small(), state, source="a.pdparams")
    with pytest.raises(UserError, match=r"weights of a pruned model need their \.slim\.json"):
        load_into(small(), state, source="a.pdparams")
    del state["fc.bias"]
    with pytest.raises(UserError, match=r"1 missing: fc\.bias"):
        load_into(small(), state, source="a.pdparams")


def test_lists_what_does_not_fit_and_changes_nothing(state):
    net = small()
    before = arrays(net)
    for index in range(6):
        state[f"extra.{index}"] = np.zeros(1)
    del state["stem.bn._mean"]
    state["blocks.0.conv0.conv.weight"] = np.zeros((16, 16, 1, 1), "float32")
    state["blocks.0.conv0.bn.bias"] = {"not": "an array"}
    state["blocks.0.conv0.bn.weight"] = np.zeros(16, "complex64")
    with pytest.raises(UserError) as error:
        load_into(net, state, source="a.pdparams")
    assert str(error.value) == (
        "a.pdparams: does not fit the model: 1 missing: stem.bn._mean; "
        "6 unexpected: extra.0, extra.1, extra.2, extra.3, ...; "
        "3 unlike the model's: blocks.0.conv0.conv.weight ([16, 16, 1, 1] in the file, [16, 16, 3, 3] in the model), "
        "blocks.0.conv0.bn.weight (complex64 in the file, float32 in the model), "
        "blocks.0.conv0.bn.bias (a dict, not an array)"
    )
    assert_unchanged(net, before)


def test_converts_floating_point_types(state):
    net = small()
    load_into(net, {name: array.astype("float64") for name, array in state.items()}, source="a.pdparams")
    assert_unchanged(net, state)
    assert {array.dtype for array in arrays(net).values()} == {np.dtype("float32")}


def test_googlenet_leaves_the_auxiliary_classifiers_in_the_file():
    net = models.build("googlenet", class_num=3)
    published = arrays(paddle.vision.models.googlenet(num_classes=1000))
    report = load_into(net, published, source="a.pdparams")
    assert len(report.ignored) == 12 - 2  # two of its convolutions have no bias
    assert report.reinitialized == ("_fc_out.weight", "_fc_out.bias")
    assert "of no use here" in str(report)


def test_constants_that_a_network_makes_itself_are_left_in_the_file():
    net = models.build("SwinTransformer_tiny_patch4_window7_224")
    state = arrays(net) | {"layers.0.blocks.1.attn_mask": np.zeros((64, 49, 49), "float32")}
    assert load_into(net, state, source="a.pdparams").ignored == ("layers.0.blocks.1.attn_mask",)
    with pytest.raises(UserError, match=r"1 unexpected: layers\.0\.attn"):
        load_into(net, state | {"layers.0.attn": np.zeros(1)}, source="a.pdparams")


@pytest.mark.parametrize(
    ("variant", "options", "published", "fresh"),
    [
        ("PPLCNet_x2_5_Tanh", {"class_num": 48}, "PPLCNet_x2_5", 2),
        ("PPLCNetV2_base_ShiTu", {"class_expand": 512}, "PPLCNetV2_base", 2 + 1 + 5),
        ("ResNet50_adaptive_max_pool2d", {}, "ResNet50", 0),
    ],
)
def test_variants_start_from_the_weights_of_the_network_that_they_are_made_of(variant, options, published, fresh):
    net, before = models.build(variant, **options), arrays(models.build(published))
    report = load_into(net, before, source="a.pdparams")
    assert len(report.own) == fresh
    assert report.loaded == len(net.state_dict()) - fresh
    assert ("start afresh" in str(report)) == (fresh > 0)
    same = [name for name, array in arrays(net).items() if name in before and np.array_equal(array, before[name])]
    assert len(same) == report.loaded
    load_into(models.build(variant, **options), arrays(net), source="b.pdparams", reinit_head=False)


def test_a_local_path_with_or_without_suffix(tmp_path):
    (tmp_path / "best_model.pdparams").write_bytes(b"")
    (tmp_path / "other.weights").write_bytes(b"")
    prefix = str(tmp_path / "best_model")
    assert str(resolve(prefix, "ResNet18")) == prefix + ".pdparams"
    assert str(resolve(prefix + ".pdparams", "ResNet18")) == prefix + ".pdparams"
    with pytest.raises(UserError, match=r"rename .*/other\.weights to .*/other\.weights\.pdparams"):
        resolve(str(tmp_path / "other.weights"), "ResNet18")
    assert needs_download(prefix, "ResNet18") is None
    with pytest.raises(UserError) as error:
        resolve(str(tmp_path / "best_modle"), "ResNet18", where="Global.pretrained_model")
    assert str(error.value) == (
        f"Global.pretrained_model: no such file: {tmp_path}/best_modle.pdparams; did you mean {prefix}.pdparams?"
    )
    for path in ("", str(tmp_path), str(tmp_path / "no" / "such" / "folder")):
        with pytest.raises(UserError, match="no such file"):
            resolve(path, "ResNet18")


def test_a_url_goes_through_the_cache(file_server, tmp_path, state):
    io.write_state(tmp_path / "a.pdparams", state)
    file_server.files["/a.pdparams"] = (tmp_path / "a.pdparams").read_bytes()
    url = file_server.url + "/a.pdparams"
    assert needs_download(url, "CIFARResNet8") == url
    path = resolve(url, "CIFARResNet8")
    assert needs_download(url, "CIFARResNet8") is None
    net = small()
    load_into(net, io.read_state(path), source=url)
    assert_unchanged(net, state)
    file_server.files["/plain"] = file_server.files["/a.pdparams"]
    assert resolve(file_server.url + "/plain?v=1", "CIFARResNet8").name.endswith("-plain.pdparams")
    assert needs_download(file_server.url + "/plain?v=1", "CIFARResNet8") is None
    with pytest.raises(UserError, match=r"Arch\.pretrained: .*cannot be downloaded.*put it at"):
        resolve(file_server.url + "/b.pdparams", "CIFARResNet8")


def test_what_does_without_published_weights_is_told(monkeypatch):
    def lost(*_, **__):
        raise UserError("cannot be downloaded")

    monkeypatch.setattr(weights, "fetch", lost)
    told = r"^Arch\.pretrained: cannot be downloaded; Arch\.pretrained: False trains from random weights$"
    with pytest.raises(UserError, match=told):
        resolve(True, "ResNet50_vd")


def test_published_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("PPCLS_COMPRESS_CACHE", str(tmp_path))
    host = "https://paddle-imagenet-models-name.bj.bcebos.com/dygraph/legendary_models/"
    expected = {
        "ResNet50_vd": host + "ResNet50_vd_pretrained.pdparams",
        "ResNet50_last_stage_stride1": host + "ResNet50_pretrained.pdparams",
        "MobileNetV3_small_x0_35": host + "MobileNetV3_small_x0_35_pretrained.pdparams",
        "PPLCNet_x2_5": host + "PPLCNet_x2_5_pretrained.pdparams",
        "PPHGNet_small": host + "PPHGNet_small_pretrained.pdparams",
        "PPHGNet_base": host + "PPHGNet_base_ssld_pretrained.pdparams",
        "mobilenet_v2": "https://paddle-hapi.bj.bcebos.com/models/mobilenet_v2_x1.0.pdparams",
    }
    assert {name: needs_download(True, name) for name in expected} == expected
    for name in ("ResNet50_vd", "PPHGNet_tiny", "PPHGNet_base"):
        assert needs_download(True, name, use_ssld=True) == host + f"{name}_ssld_pretrained.pdparams"
    for name, ssld in (("CIFARResNet8", False), ("vgg11", False), ("mobilenet_v2", True)):
        with pytest.raises(UserError, match=rf"Arch\.pretrained: no published (SSLD )?weights of {name} are known"):
            resolve(True, name, use_ssld=ssld)
    placed = cache_path(expected["PPLCNet_x2_5"])
    placed.parent.mkdir(parents=True)
    placed.write_bytes(b"put there by hand")
    assert resolve(True, "PPLCNet_x2_5") == placed


def test_paddle_publishes_weights_under_the_names_of_the_catalogue():
    names = [name for name in catalog.names() if catalog.get(name).module == "vision"]
    without = [name for name in names if not_published(name)]
    assert without == ["LeNet", "vgg11", "vgg13"]


def not_published(name):
    try:
        needs_download(True, name)
    except UserError:
        return True
    return False
