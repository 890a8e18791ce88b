"""Several optimizers, each for a part of what is trained."""

import paddle
import pytest
from pydantic import TypeAdapter

from ppcls_compress.optim.build import build_optimizers
from ppcls_compress.optim.optimizers import OptimizerSection, inert_options


class Network(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.backbone = paddle.nn.Sequential(paddle.nn.Linear(1, 1), paddle.nn.Linear(1, 1))
        self.head = paddle.nn.Linear(1, 1)


class CenterLoss(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.centers = self.create_parameter([1])


def sgd(scope, rate, **more):
    return {"SGD": {"scope": scope, "lr": {"name": "Constant", "learning_rate": rate}, **more}}


def build(entries, model=None, losses=None):
    section = TypeAdapter(OptimizerSection).validate_python(entries)
    return build_optimizers(section, model or Network(), losses, epochs=2, steps_per_epoch=4)


def moved(entries):
    """By how much each parameter moves in a step whose gradients are ones."""
    model, loss = Network(), CenterLoss()
    owners = [*model.named_parameters(), *loss.named_parameters()]
    before = {name: parameter.numpy().copy() for name, parameter in owners}
    optimizer, schedule = build(entries, model, {"CenterLoss": loss})
    sum(parameter.sum() for _, parameter in owners).backward()
    optimizer.step()
    schedule.step()
    optimizer.clear_grad(set_to_zero=False)
    assert all(parameter.grad is None for _, parameter in owners)
    return {name: round(float((before[name] - parameter.numpy()).max()), 5) for name, parameter in owners}


def test_each_part_has_its_rate():
    found = moved([sgd("backbone", 0.1), sgd("head", 0.2), sgd("CenterLoss", 0.5)])
    assert {name: value for name, value in found.items() if "weight" in name or name == "centers"} == {
        "backbone.0.weight": 0.1,
        "backbone.1.weight": 0.1,
        "head.weight": 0.2,
        "centers": 0.5,
    }


def test_a_regular_expression_names_layers_and_the_network_its_class():
    found = moved([sgd(r"backbone\.[1-9]", 0.1), sgd("head", 0.2)])
    assert (found["backbone.0.weight"], found["backbone.1.weight"], found["head.weight"]) == (0.0, 0.1, 0.2)
    assert moved([sgd("Network", 0.1)])["centers"] == 0.0
    assert set(moved([sgd("all", 0.1)]).values()) == {0.1}


def test_what_no_scope_has_is_known():
    optimizer, _ = build([sgd("head", 0.1), sgd(r"backbone\.1", 0.1)])
    assert list(optimizer.untrained) == ["backbone.0.weight", "backbone.0.bias"]


def test_schedules_step_together():
    entries = [sgd("head", 0.1), {"SGD": {"scope": "backbone", "lr": {"name": "Cosine", "learning_rate": 1.0}}}]
    optimizer, schedule = build(entries)
    for _ in range(8):
        schedule.step()
    assert [member.get_lr() for member in optimizer.members] == pytest.approx([0.1, 0.0])
    schedule.go_to(4)
    assert [member.get_lr() for member in optimizer.members] == pytest.approx([0.1, 0.5])


def test_both_forms_of_an_entry_are_taken():
    first = {"name": "SGD", "scope": "head", "lr": {"learning_rate": 0.1}}
    optimizer, _ = build([first, sgd("backbone", 0.1)])
    assert len(optimizer.members) == 2


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([sgd("neck", 0.1)], "Optimizer.scope: nothing with parameters is called neck"),
        ([sgd("heads", 0.1), sgd("backbone", 0.1)], r"Optimizer.0.scope: .* did you mean head\?"),
        ([sgd("head", 0.1), sgd(".*", 0.1)], r"Optimizer.1.scope: .\* and head both train head.weight"),
        ([sgd("head", 0.1), sgd("(", 0.1)], "neither a layer nor a regular expression"),
        ([sgd("head", 0.1), sgd("head", 0.1)], "more than one has scope 'head'"),
        ([], "at least 1"),
    ],
)
def test_bad_scopes_are_refused(entries, message):
    with pytest.raises(ValueError, match=message):
        build(entries)


def test_keys_without_effect_are_told_by_optimizer():
    section = TypeAdapter(OptimizerSection).validate_python([sgd("head", 0.1), sgd("backbone", 0.1, clip_grad=1.0)])
    assert [key for key, _ in inert_options(section)] == ["Optimizer.1.SGD.clip_grad"]
