"""Data sets, losses and metrics of one kind of labels."""

import pytest
from support.project import attribute_config, config

from ppcls_compress.config.load import validate
from ppcls_compress.errors import ConfigError


def attributes(root, **changes):
    data = attribute_config(root)
    for path, value in changes.items():
        *sections, key = path.split("__")
        node = data
        for section in sections:
            node = node[section]
        node[key] = value
    return data


def refusal(data):
    with pytest.raises(ConfigError) as refused:
        validate(data, source="config.yaml")
    return str(refused.value)


def test_parts_of_one_kind_are_taken(tmp_path):
    validate(config(tmp_path), source="config.yaml")
    validate(attributes(tmp_path), source="config.yaml")


def test_several_labels_are_declared_once_for_all(tmp_path):
    assert refusal(attributes(tmp_path, Global__use_multilabel=False)) == (
        "config.yaml: Global.use_multilabel: must be True, for DataLoader.Train.dataset is MultiLabelDataset, whose "
        "images have several"
    )


def test_a_data_set_of_one_class_does_not_fit_several_labels(tmp_path):
    data = attributes(tmp_path)
    data["DataLoader"]["Eval"]["dataset"]["name"] = "ImageNetDataset"
    assert "DataLoader.Eval.dataset.name: ImageNetDataset does not fit several labels" in refusal(data)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"Loss__Train": [{"CELoss": None}]}, "Loss.Train.0.CELoss: "),
        ({"Loss__Eval": [{"MultiLabelLoss": None}, {"GoogLeNetLoss": None}]}, "Loss.Eval.1.GoogLeNetLoss: "),
        ({"Metric__Eval": [{"TprAtFpr": None}]}, "Metric.Eval.0.TprAtFpr: "),
        ({"Metric__Train": [{"TopkAcc": None}]}, "Metric.Train.0.TopkAcc: "),
    ],
)
def test_losses_and_metrics_of_one_class_do_not_fit_several_labels(tmp_path, changes, key):
    assert f"{key}{key.split('.')[-1][:-2]} does not fit several labels" in refusal(attributes(tmp_path, **changes))


def test_metrics_of_attributes_do_not_fit_one_class(tmp_path):
    data = config(tmp_path) | {"Metric": {"Eval": [{"MultiLabelMAP": None}]}}
    assert "Metric.Eval.0.MultiLabelMAP: MultiLabelMAP does not fit one class" in refusal(data)


def test_a_loss_that_weighs_by_shares_needs_them(tmp_path):
    data = attributes(tmp_path, Loss__Train=[{"MultiLabelLoss": {"weight_ratio": True}}])
    assert refusal(data).endswith(
        "Loss.Train.0.MultiLabelLoss.weight_ratio: needs the shares of labels; set "
        "DataLoader.Train.dataset.label_ratio to True"
    )
    data["DataLoader"]["Train"]["dataset"]["label_ratio"] = True
    validate(data, source="config.yaml")


def test_transforms_that_mix_classes_do_not_fit_several_labels(tmp_path):
    data = attributes(tmp_path)
    data["DataLoader"]["Train"]["dataset"]["batch_transform_ops"] = [{"MixupOperator": {"alpha": 0.2}}]
    assert "dataset.batch_transform_ops: found MixupOperator" in refusal(data)


def test_what_is_not_given_for_evaluation_fits_several_labels(tmp_path):
    data = attributes(tmp_path)
    del data["Loss"]["Eval"], data["Metric"]
    found = validate(data, source="config.yaml")
    assert [type(entry).__name__ for entry in (*found.Loss.Eval, *found.Metric.Eval)] == [
        "MultiLabelLoss",
        "ATTRMetric",
    ]
    del data["Loss"]
    assert validate(data, source="config.yaml").Loss is None
