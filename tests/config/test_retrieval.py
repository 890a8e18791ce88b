import pytest

from ppcls_compress.config.load import validate
from ppcls_compress.errors import ConfigError

OPS = [{"DecodeImage": None}]
LISTED = {"dataset": {"image_root": "a", "cls_label_path": "b", "transform_ops": OPS}, "sampler": {"batch_size": 2}}
FACES = {"dataset": {"name": "FiveValidationDataset", "val_data_path": "a"}, "sampler": {"batch_size": 2}}


def configured(mode, split, **sections):
    data = {"Arch": {"name": "ResNet18"}, "Global": {"eval_mode": mode}, "DataLoader": {"Eval": split}, **sections}
    return validate(data, source="test.yaml")


@pytest.mark.parametrize(
    ("mode", "split", "names"),
    [
        ("classification", LISTED, ["TopkAcc"]),
        ("retrieval", {"Query": LISTED, "Gallery": LISTED}, ["Recallk", "mAP"]),
        ("adaface", FACES, ["FaceVerification"]),
    ],
)
def test_metrics_that_are_not_given_are_those_of_the_mode(mode, split, names):
    assert [type(metric).__name__ for metric in configured(mode, split).Metric.Eval] == names


@pytest.mark.parametrize(
    ("mode", "split", "problem"),
    [
        (
            "adaface",
            LISTED,
            "DataLoader.Eval.dataset.name: Global.eval_mode is adaface: expected FiveValidationDataset",
        ),
        ("retrieval", LISTED, "DataLoader.Eval: Global.eval_mode is retrieval: expected {Query"),
        ("classification", {"Query": LISTED}, "DataLoader.Eval: Global.eval_mode is classification: expected {dataset"),
    ],
)
def test_a_split_of_another_mode_is_refused(mode, split, problem):
    with pytest.raises(ConfigError) as error:
        configured(mode, split)
    assert problem in str(error.value)


def test_a_metric_of_another_mode_is_refused():
    with pytest.raises(ConfigError, match=r"Metric\.Eval\.0\.Recallk: Global\.eval_mode is classification; choose one"):
        configured("classification", LISTED, Metric={"Eval": [{"Recallk": {"topk": [1]}}]})
