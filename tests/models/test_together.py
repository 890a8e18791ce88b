import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_compress import models
from ppcls_compress.errors import ConfigError
from ppcls_compress.models.labelled import TakesLabels
from ppcls_compress.models.together import DistillationModel, deployed

IMAGES = paddle.to_tensor(np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype("float32"))


def pair(**options):
    networks = {name: models.build("CIFARResNet8", class_num=3) for name in ("Teacher", "Student")}
    return DistillationModel(networks, student="Student", **options)


def learning(network):
    return all(parameter.grad is not None for parameter in network.parameters() if not parameter.stop_gradient)


def test_parameters_have_the_names_of_their_networks_and_outputs_too():
    model = pair()
    assert {key.partition(".")[0] for key in model.state_dict()} == {"Teacher", "Student"}
    output = model(IMAGES)
    assert list(output) == ["Teacher", "Student"]
    assert deployed(model) is model.student
    assert deployed(model.student) is model.student


def test_a_frozen_network_learns_nothing_and_its_statistics_stay():
    model = pair(frozen=["Teacher"])
    before = {key: value.numpy().copy() for key, value in model.state_dict().items()}
    model.train()
    teacher = model._sub_layers["Teacher"]
    assert not teacher.training
    assert not any(layer.training for layer in teacher.sublayers())
    assert model.student.training
    output = model(IMAGES)
    ((output["Student"] - output["Teacher"]) ** 2).mean().backward()
    assert output["Teacher"].stop_gradient
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert learning(model.student)
    changed = {key for key, value in model.state_dict().items() if not np.array_equal(value.numpy(), before[key])}
    assert changed
    assert all(key.startswith("Student.") for key in changed)


def test_networks_that_are_not_frozen_learn_from_each_other():
    model = pair()
    model.train()
    output = model(IMAGES)
    ((output["Student"] - output["Teacher"]) ** 2).mean().backward()
    assert learning(model._sub_layers["Teacher"])
    assert learning(model.student)


def test_layers_are_returned_beside_logits():
    model = pair(returns={"Student": ["blocks[0]", "fc"], "Teacher": []})
    output = model(IMAGES)
    assert isinstance(output["Teacher"], paddle.Tensor)
    assert list(output["Student"]) == ["logits", "blocks[0]", "fc"]
    np.testing.assert_array_equal(output["Student"]["fc"].numpy(), output["Student"]["logits"].numpy())
    assert output["Student"]["blocks[0]"].ndim == 4
    assert not any(layer._forward_post_hooks for layer in model.sublayers())
    with pytest.raises(ConfigError, match=r"Student: return_patterns: unknown layer 'blockz.0'; did you mean"):
        pair(returns={"Student": ["blockz[0]"]})


def test_only_networks_that_take_labels_get_them():
    class Margin(TakesLabels):
        def forward(self, images, labels=None):
            return {"logits": images.mean([2, 3]), "labelled": labels is not None}

    model = DistillationModel({"A": Margin(), "B": nn.Flatten()}, student="B")
    assert model(IMAGES, paddle.zeros([4], "int64"))["A"]["labelled"]
    assert not model(IMAGES)["A"]["labelled"]


def test_parameters_of_the_same_name_are_told_apart_for_the_optimizer():
    def named():
        with paddle.base.unique_name.guard():
            return nn.Linear(2, 2)

    model = DistillationModel({"A": named(), "B": named()}, student="B")
    names = [parameter.name for parameter in model.parameters()]
    assert len(set(names)) == 4
