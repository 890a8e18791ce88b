import pytest

from ppcls_compress.config.load import validate
from ppcls_compress.errors import ConfigError

KEYS = ["blocks[0]", "blocks[1]"]
SHAPES = {"s_shapes": [[16, 8, 8], [32, 4, 4]], "t_shapes": [[16, 8, 8], [32, 4, 4]]}


def attending(network, transform, **options):
    inner = [{"Net": network}, {"Transform": {"qk_dim": 16, "keys": KEYS, **transform}}]
    return {"name": "AttentionModel", "models": inner, **options}


def configured(teacher=None, student=None, **loss):
    teacher = teacher or attending(
        {"name": "CIFARResNet8", "return_patterns": KEYS, "pretrained": "weights"},
        {"name": "LinearTransformTeacher", "t_shapes": SHAPES["t_shapes"]},
        freeze_params_list=[True, False],
    )
    student = student or attending(
        {"name": "CIFARResNet8", "return_patterns": KEYS}, {"name": "LinearTransformStudent", **SHAPES}
    )
    return {
        "Arch": {"name": "DistillationModel", "models": [{"Teacher": teacher}, {"Student": student}]},
        "Loss": {
            "Train": [
                {"DistillationGTCELoss": {"model_names": ["Student"]}},
                {"AFDLoss": {"weight": 50.0, "model_name_pair": ["Student", "Teacher"], **SHAPES, **loss}},
            ]
        },
        "Optimizer": {"name": "Momentum", "lr": {"name": "Constant", "learning_rate": 0.1}},
    }


def test_networks_are_those_within_and_the_loss_knows_their_features():
    config = validate(configured(), source="x")
    teacher, student = config.Arch.together.networks
    assert (teacher.arch.name, student.arch.name) == ("CIFARResNet8", "CIFARResNet8")
    assert (teacher.frozen, student.frozen) == (True, False)
    assert (teacher.arch.pretrained, student.arch.pretrained) == ("weights", False)
    assert teacher.returns == student.returns == tuple(KEYS)
    loss = config.Loss.Train[1]
    assert (loss.student_features, loss.teacher_features) == (tuple(KEYS), tuple(KEYS))
    assert (loss.qk_dim, loss.weight) == (16, 50.0)


def test_weights_may_be_listed_beside_the_networks():
    teacher = attending(
        {"name": "CIFARResNet8", "return_patterns": KEYS},
        {"name": "LinearTransformTeacher"},
        pretrained_list=["listed", None],
        freeze_params_list=[True, False],
    )
    assert validate(configured(teacher), source="x").Arch.together.networks[0].arch.pretrained == "listed"


NET = {"name": "CIFARResNet8"}


@pytest.mark.parametrize(
    ("teacher", "loss", "told"),
    [
        (
            {"name": "AttentionModel", "models": [{"Net": NET}]},
            {},
            "Arch.models.0.Teacher.models: expected a network and",
        ),
        (
            attending(NET, {"name": "LinearTransformTeacher"}, freeze_params_list=[True, True]),
            {},
            "Arch.models.0.Teacher.freeze_params_list: LinearTransformTeacher has to learn",
        ),
        (
            attending(NET, {"name": "LinearTransformTeacher", "qk_din": 3}),
            {},
            "Arch.models.0.Teacher.models.1.qk_din: unknown key 'qk_din'; did you mean 'qk_dim'?",
        ),
        ({"name": "AttentionModel", "models": 3}, {}, "Arch.models.0.Teacher.models: expected a list, found 3"),
        (
            attending(NET, {"name": "LinearTransformTeacher"}, freeze_params_list=True),
            {},
            "Arch.models.0.Teacher.freeze_params_list: expected a list, found True",
        ),
        (
            attending(NET, {"name": "LinearTransformTeacher"}, pretrained_list=1),
            {},
            "Arch.models.0.Teacher.pretrained_list: expected a list, found 1",
        ),
        (attending(NET, {"name": ["LinearTransformTeacher"]}), {}, "Arch.models.0.Teacher.models: expected a network"),
        (None, {"model_name_pair": 3}, "model_name_pair"),
        (None, {"model_name_pair": [["Student"], "Teacher"]}, "model_name_pair"),
        (None, {"qk_dim": 32}, "Loss.Train.AFDLoss.qk_dim: is 32, but 16 in the AttentionModel Student"),
    ],
)
def test_what_does_not_fit_is_told_by_its_key(teacher, loss, told):
    with pytest.raises(ConfigError) as error:
        validate(configured(teacher, **loss), source="x")
    assert told in str(error.value)


def test_what_stays_as_it_is_has_to_be_a_list():
    content = configured()
    content["Arch"]["freeze_params_list"] = 3
    with pytest.raises(ConfigError, match=r"Arch\.(freeze_params_list|models)"):
        validate(content, source="x")
