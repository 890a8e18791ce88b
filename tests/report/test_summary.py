import json

import pytest
from support.exporting import export
from support.project import ATTRIBUTES, CLASSES, SIZE, make_attribute_project, make_project

from ppcls_compress.cli import main
from ppcls_compress.models import build


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    config = make_project(root, Metric={"Eval": [{"TopkAcc": {"topk": [2]}}]})
    export(build("CIFARResNet8", class_num=CLASSES), root / "inference", image_shape=[3, SIZE, SIZE])
    return config


def report(project, *options):
    return main(["report", "-c", str(project), *options, f"it={project.parent / 'inference'}"])


def test_the_table_has_top1_whatever_the_configuration_measures(project, tmp_path, capsys):
    assert report(project, "--rounds", "2", "--out", str(tmp_path / "rows.json")) == 0
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert row["name"] == "it"
    assert 0 <= row["top1"] <= 100
    assert "top-1 %" in capsys.readouterr().out


def test_of_images_with_several_labels_the_table_has_the_main_metric(tmp_path, capsys):
    config = make_attribute_project(tmp_path)
    model = build("CIFARResNet8", class_num=len(ATTRIBUTES))
    export(model, tmp_path / "inference", image_shape=[3, SIZE, SIZE], output="label_probabilities")
    assert report(config, "--rounds", "2", "--out", str(tmp_path / "rows.json")) == 0
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert row["metric"] == "ma"
    assert 0 <= row["ma"] <= 100
    assert "ma %" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--rounds", "--threads", "--batch-size"])
@pytest.mark.parametrize("value", ["0", "-3"])
def test_a_count_below_one_is_refused_by_name(project, capsys, option, value):
    assert report(project, f"{option}={value}") == 2
    assert f"{option}: expected 1 or more, found {value}" in capsys.readouterr().err
