"""Several networks that are trained together: what a configuration says of them."""

import copy

import pytest
import yaml

from ppcls_compress.commands.common import read_config
from ppcls_compress.config.inert import inert_keys
from ppcls_compress.config.load import load_config, validate
from ppcls_compress.config.paths import check_companions
from ppcls_compress.errors import ConfigError

ARCH = {
    "name": "DistillationModel",
    "class_num": 7,
    "pretrained_list": None,
    "freeze_params_list": [True, False],
    "infer_model_name": "Student",
    "models": [
        {"Teacher": {"name": "ResNet50_vd", "return_patterns": ["avg_pool"]}},
        {"Student": {"name": "PPLCNet_x1_0", "class_num": 5, "pretrained": True, "use_ssld": True, "scale": 1.0}},
    ],
}
DML = {"DistillationDMLLoss": {"model_name_pairs": [["Student", "Teacher"]]}}


def config(loss=None, metric=None, **arch):
    data = {
        "Arch": {**copy.deepcopy(ARCH), **arch},
        "Loss": loss or {"Train": [DML]},
        "Metric": metric or {"Eval": [{"TopkAcc": {"topk": [1]}}]},
    }
    return validate({key: value for key, value in data.items() if value}, source="x.yaml")


def refused(**arguments):
    with pytest.raises(ConfigError) as error:
        config(**arguments)
    (line,) = str(error.value).splitlines()
    return line.removeprefix("x.yaml: ")


def test_keys_beside_the_networks_that_none_of_them_reads_are_told():
    told = list(inert_keys(config(use_ssld=True, is_rec=True)))
    assert [line.split(" ")[0] for line in told] == ["Arch.use_ssld", "Arch.is_rec"]
    assert list(inert_keys(config())) == []


def test_the_network_that_is_deployed_stands_for_the_whole():
    arch = config(use_sync_bn=True).Arch
    assert (arch.name, arch.class_num, arch.pretrained, arch.use_ssld) == ("PPLCNet_x1_0", 5, True, True)
    assert arch.use_sync_bn
    assert arch.family_options == {"scale": 1.0}
    assert arch.together.student == "Student"
    teacher, student = arch.together.networks
    assert (teacher.name, teacher.frozen, teacher.returns) == ("Teacher", True, ("avg_pool",))
    assert (teacher.arch.name, teacher.arch.class_num) == ("ResNet50_vd", 7)
    assert not student.frozen
    assert config(infer_model_name="Teacher", freeze_params_list=None).Arch.name == "ResNet50_vd"


def test_listed_weights_take_the_place_of_a_networks_own():
    teacher, student = config(pretrained_list=["weights/teacher", None]).Arch.together.networks
    assert teacher.arch.pretrained == "weights/teacher"
    assert student.arch.pretrained is True


def test_a_teacher_without_weights_says_which_key_to_set(tmp_path):
    with pytest.raises(ConfigError) as error:
        check_companions(config())
    assert str(error.value).startswith(
        "Arch.models.0.Teacher.pretrained: Teacher is frozen and others learn from it, so it needs weights: "
        "-o Arch.models.0.Teacher.pretrained=output/ResNet50_vd/best_model, or train it too"
    )
    with pytest.raises(ConfigError, match=r"Arch\.models\.0\.Teacher\.pretrained: .*no_such.* does not exist"):
        check_companions(config(pretrained_list=[f"{tmp_path}/no_such", None]))
    check_companions(config(freeze_params_list=[False, False]))
    check_companions(config(pretrained_list=[True, None]))


def test_an_override_reaches_a_network_by_its_place(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump({"Arch": ARCH}))
    loaded = load_config(path, ["Arch.models.0.Teacher.pretrained=weights/teacher"])
    assert loaded.Arch.together.networks[0].arch.pretrained == "weights/teacher"


@pytest.mark.parametrize(
    ("arch", "line"),
    [
        ({"models": []}, "Arch.models: "),
        ({"modles": []}, "Arch: unknown key 'modles'; did you mean 'models'?"),
        ({"infer_model_name": "Studnet"}, "Arch.infer_model_name: unknown network 'Studnet'; did you mean 'Student'?"),
        ({"freeze_params_list": [True]}, "Arch.freeze_params_list: expected one value for each of 2 networks, found 1"),
        ({"freeze_params_list": [True, True]}, "Arch.freeze_params_list.1: Student is deployed, so it has to learn"),
        (
            {"models": [{"A": {"name": "LeNet"}, "B": {}}], "freeze_params_list": None},
            "Arch.models.0: expected one network",
        ),
        ({"models": [{"Student": {}}], "freeze_params_list": None}, "Arch.models.0.Student.name: required, but not"),
        (
            {"models": [{"Student": {"name": "LeNet", "class_num": 0}}], "freeze_params_list": None},
            "Arch.models.0.Student.class_num: expected",
        ),
        (
            {"models": [{"Student": {"name": "LeNet", "return_stages": True}}], "freeze_params_list": None},
            "Arch.models.0.Student.return_stages: name the layers instead, in return_patterns",
        ),
        (
            {"models": [{"Student": {"name": "LeNet"}}, {"Student": {"name": "LeNet"}}]},
            "Arch.models: two networks have the same name: Student, Student",
        ),
    ],
)
def test_what_is_wrong_is_told_by_its_key(arch, line):
    assert refused(**arch).startswith(line)


@pytest.mark.parametrize(
    ("section", "line"),
    [
        (
            {"loss": {"Train": [{"DistillationDMLLoss": {"model_name_pairs": [["Studnet", "Teacher"]]}}]}},
            "Loss.Train.0.DistillationDMLLoss: unknown network 'Studnet'; did you mean 'Student'?",
        ),
        (
            {"loss": {"Train": [DML, {"CELoss": {}}]}},
            "Loss.Train.1.CELoss: is of one network, and 2 are trained; use DistillationGTCELoss: {model_names: [Stu",
        ),
        (
            {"loss": {"Train": [DML], "Eval": [DML]}},
            "Loss.Eval.0.DistillationDMLLoss: Teacher is not evaluated; Student is, which Arch.infer_model_name names",
        ),
        (
            {"metric": {"Train": [{"TopkAcc": {}}], "Eval": [{"TopkAcc": {}}]}},
            "Metric.Train.0.TopkAcc: is of one network, and 2 are trained; use DistillationTopkAcc: {model_key: Stu",
        ),
        (
            {"metric": {"Eval": [{"DistillationTopkAcc": {"model_key": "Teachr"}}]}},
            "Metric.Eval.0.DistillationTopkAcc: unknown network 'Teachr'; did you mean 'Teacher'?",
        ),
    ],
)
def test_losses_and_metrics_are_of_networks_that_there_are(section, line):
    assert refused(**section).startswith(line)


def test_losses_of_several_networks_need_several():
    with pytest.raises(ConfigError, match=r"Loss\.Train\.0\.DistillationDMLLoss: is of several networks"):
        validate({"Arch": {"name": "LeNet"}, "Loss": {"Train": [DML]}}, source="x.yaml")
    with pytest.raises(ConfigError, match=r"Arch\.together: is no key of a file"):
        validate({"Arch": {"name": "LeNet", "together": {"student": "A", "networks": []}}}, source="x.yaml")


def test_a_second_way_to_distill_is_refused(tmp_path):
    data = {"Arch": ARCH, "Loss": {"Train": [DML]}, "Slim": {"distill": {"teacher": "x"}}}
    with pytest.raises(ConfigError, match=r"Slim\.distill: Arch\.name DistillationModel has a teacher of its own"):
        validate(data, source="x.yaml")


def test_options_of_each_network_are_checked_under_its_own_key(tmp_path, monkeypatch):
    import argparse

    path = tmp_path / "x.yaml"
    arch = copy.deepcopy(ARCH)
    arch["models"][0]["Teacher"]["strides"] = 2
    path.write_text(yaml.safe_dump({"Arch": arch}))
    with pytest.raises(
        ConfigError, match=r"Arch\.models\.0\.Teacher: unknown key 'strides'; did you mean 'stride_list'"
    ):
        read_config(argparse.Namespace(config=path, override=[]))
    arch["models"][0]["Teacher"] = {"name": "ResNet50_vb"}
    path.write_text(yaml.safe_dump({"Arch": arch}))
    with pytest.raises(
        ConfigError, match=r"Arch\.models\.0\.Teacher\.name: unknown architecture 'ResNet50_vb'; did you"
    ):
        read_config(argparse.Namespace(config=path, override=[]))
