import numpy as np
import paddle
import pytest

from ppcls_compress import models
from ppcls_compress.errors import ConfigError
from ppcls_compress.models import catalog
from ppcls_compress.models.recognition import stop_after

BACKBONE = {"name": "MobileNetV1_x0_25"}
STOP = {"name": "flatten"}
NECK = {"name": "FC", "embedding_size": 256, "class_num": 16}
HEAD = {"name": "ArcMargin", "embedding_size": 16, "class_num": 5}
IMAGES = paddle.to_tensor(np.random.default_rng(0).standard_normal((4, 3, 32, 32)).astype("float32"))


def build(**sections):
    return models.build("RecModel", **{"Backbone": BACKBONE, "BackboneStopLayer": STOP, **sections})


def shapes(model, *labels):
    return {name: value.shape for name, value in model(IMAGES, *labels).items()}


def test_outputs_are_given_by_name_and_features_are_the_necks():
    model = build(Neck=NECK, Head=HEAD)
    assert shapes(model) == {"backbone": [4, 256], "neck": [4, 16], "features": [4, 16], "logits": [4, 5]}
    found = model(IMAGES)
    assert (found["features"] == found["neck"]).all()


def test_without_a_neck_features_are_the_backbones_and_without_a_head_there_are_no_logits():
    assert shapes(build()) == {"backbone": [4, 256], "features": [4, 256]}


def test_weights_have_paddleclas_names():
    names = list(build(Neck=NECK, Head=HEAD).state_dict())
    plain = [
        f"backbone.{name}" for name in models.build("MobileNetV1_x0_25").state_dict() if not name.startswith("fc.")
    ]
    assert names == [*plain, "neck.fc.weight", "neck.fc.bias", "head.weight"]


def test_the_head_sees_labels_in_training_only():
    model = build(Neck=NECK, Head=HEAD)
    labels = paddle.to_tensor([0, 1, 2, 3])
    model.train()
    plain, told = model(IMAGES)["logits"], model(IMAGES, labels)["logits"]
    assert abs(told).max() > 2 > abs(plain).max()
    model.eval()
    assert abs(model(IMAGES, labels)["logits"]).max() < 2


def test_the_head_may_take_the_backbones_output():
    head = {"name": "FC", "embedding_size": 256, "class_num": 5}
    model = build(Neck=NECK, Head=head, head_feature_from="backbone", infer_output_key="logits")
    assert shapes(model)["logits"] == [4, 5]
    assert model.exported == "logits"


def test_only_outputs_that_are_asked_for_are_given():
    assert list(shapes(build(Neck=NECK, Head=HEAD, gives=["features"]))) == ["features"]


@pytest.mark.parametrize(
    ("name", "blocks", "gone"),
    [
        ("blocks", 13, ["avg_pool", "flatten", "fc"]),
        ("blocks.3", 4, [*(f"blocks.{index}" for index in range(4, 13)), "avg_pool", "flatten", "fc"]),
    ],
)
def test_the_backbone_stops_after_a_layer(name, blocks, gone):
    network = models.build("MobileNetV1_x0_25")
    assert set(stop_after(network, name)) == set(gone)
    network.eval()
    expected = network.conv(IMAGES)
    for block in list(network.blocks)[:blocks]:
        expected = block(expected)
    np.testing.assert_array_equal(network(IMAGES).numpy(), expected.numpy())


def test_an_index_is_written_in_brackets_too():
    one, other = models.build("MobileNetV1_x0_25"), models.build("MobileNetV1_x0_25")
    assert stop_after(one, "blocks[3].pointwise_conv") == stop_after(other, "blocks.3.pointwise_conv")


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"BackboneStopLayer": {"name": "flaten"}}, r"StopLayer.name: unknown layer 'flaten'; did you mean 'flatten'"),
        ({"Backbone": {"name": "MobileNetV1_x0_2"}}, r"Arch.Backbone.name: unknown architecture"),
        ({"Backbone": {**BACKBONE, "scale": 2}}, r"Arch.Backbone: unknown key 'scale'"),
        ({"Head": {**HEAD, "margn": 1}}, r"Arch.Head: unknown key 'margn'; did you mean 'margin'"),
        ({"Head": {**HEAD, "name": "ArcMargn"}}, r"Arch.Head.name: unknown head 'ArcMargn'; did you mean 'ArcMargin'"),
        ({"Neck": {"name": "FC"}}, r"Arch.Neck.embedding_size: required"),
        ({"Neck": {**NECK, "class_num": "many"}}, r"Arch.Neck.class_num: expected a valid integer.*found 'many'"),
        ({"infer_output_key": "logits"}, r"Arch.infer_output_key: logits is given by a Head"),
        ({"infer_output_key": "featurs"}, r"Arch.infer_output_key: .*found 'featurs'"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_key(sections, told):
    with pytest.raises(ConfigError, match=told):
        build(**sections)


@pytest.mark.parametrize("section", ["Backbone", "Neck", "Head"])
def test_sections_are_checked_before_paddle_builds_anything(section):
    with pytest.raises(ConfigError, match=rf"Arch.{section}\b"):
        catalog.check("RecModel", {"Backbone": BACKBONE, section: 3})
