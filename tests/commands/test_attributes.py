"""Several labels of an image, from training to inference."""

import json

import numpy as np
import pytest
import yaml
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score
from support.commands import call, errors
from support.project import ATTRIBUTES, make_attribute_project

from ppcls_compress.deploy.predictor import Predictor

pytestmark = pytest.mark.slow
SLIM = ("Slim.prune={name: fpgm, pruned_ratio: 0.3}", "Slim.quant={name: pact}")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A pruned, quantized, trained and exported network; tests must not write into it."""
    root = tmp_path_factory.mktemp("attributes")
    config = make_attribute_project(root)
    assert call("train", config, *SLIM, "Global.epochs=3") == 0
    assert call("export_model", config, *SLIM, weights(root)) == 0
    return root


def weights(root):
    return f"Global.pretrained_model={root}/output/CIFARResNet8/latest"


def measured(tmp_path, config, *overrides, arguments=()):
    assert call("eval", config, *overrides, arguments=[*arguments, "--json", str(tmp_path / "found.json")]) == 0
    return json.loads((tmp_path / "found.json").read_text())


def answers(capsys, config, *overrides, arguments=()):
    capsys.readouterr()
    assert call("infer", config, *overrides, arguments=arguments) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def validation_labels(root):
    lines = (root / "images" / "val_list.txt").read_text().splitlines()
    return np.array([list(map(int, line.split("\t")[1].split(","))) for line in lines])


def test_scores_of_the_exported_network_are_those_of_scikit_learn(project, tmp_path, capsys):
    config, artifact = project / "config.yaml", ["--artifact", str(project / "inference")]
    found = measured(tmp_path, config, arguments=artifact)
    labels, zero = validation_labels(project), {"zero_division": 0}
    said = np.zeros_like(labels)
    for row, answer in enumerate(answers(capsys, config, arguments=artifact)):
        said[row, answer["class_ids"]] = 1
        assert answer["label_names"] == [ATTRIBUTES[index] for index in answer["class_ids"]]
        assert all(score >= 0.5 for score in answer["scores"])
    recalls = [recall_score(*pair, average="macro", **zero) for pair in ((labels, said), (1 - labels, 1 - said))]
    expected = {
        "ma": np.mean(recalls),
        "label_f1": f1_score(labels, said, average="macro", **zero),
        "label_pos_recall": recalls[0],
        "label_neg_recall": recalls[1],
        "instance_acc": jaccard_score(labels, said, average="samples", **zero),
        "instance_prec": precision_score(labels, said, average="samples", **zero),
        "instance_recall": recall_score(labels, said, average="samples", **zero),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-9)


def test_the_checkpoint_scores_and_answers_as_the_exported_network_does(project, tmp_path, capsys):
    config, artifact = project / "config.yaml", ["--artifact", str(project / "inference")]
    model, exported = (
        measured(tmp_path, config, *given, arguments=more)
        for given, more in (((*SLIM, weights(project)), ()), ((), artifact))
    )
    assert set(model) == set(exported)
    assert abs(model["ma"] - exported["ma"]) <= 1 / 4  # a label of twelve images may change with a rounding
    first = answers(capsys, config, *SLIM, weights(project))
    second = answers(capsys, config, arguments=artifact)
    same = [one["class_ids"] == other["class_ids"] for one, other in zip(first, second, strict=True)]
    assert sum(same) >= len(same) - 1


def test_the_artifact_tells_how_it_is_to_be_read(project):
    content = yaml.safe_load((project / "inference" / "inference.yml").read_text())
    assert content["PostProcess"] == {"MultiLabelThreshOutput": {"threshold": 0.5, "label_list": list(ATTRIBUTES)}}
    assert content["Artifact"]["output"] == "label_probabilities"
    parity = content["Artifact"]["parity"]
    assert parity["kind"] == "labels"
    assert parity["agreement"] >= 0.95
    assert 0 <= parity["accuracy_model"] <= 1


def test_the_predictor_gives_labels_one_by_one(project):
    predictor = Predictor(project / "inference")
    image = np.zeros((1, 3, 8, 8), np.float32)
    probabilities, logits = predictor.probabilities(image), predictor.logits(image)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), probabilities, atol=1e-6)
    (answer,) = predictor.predict(project / "images" / "val" / "000.png")
    assert list(answer) == ["class_ids", "scores", "label_names"]


def test_an_answer_may_be_another_one_than_was_exported(project, capsys):
    config, artifact = project / "config.yaml", ["--artifact", str(project / "inference")]
    everything = answers(capsys, config, "Infer.PostProcess.threshold=0", arguments=artifact)
    assert all(answer["class_ids"] == [0, 1] for answer in everything)


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("Global.use_multilabel=False", "Global.use_multilabel: must be True"),
        ("Infer.PostProcess={name: PersonAttribute}", "Infer.PostProcess.name: PersonAttribute reads 26 scores"),
        ("Infer.PostProcess={name: MultiLabelTreshOutput}", "did you mean 'MultiLabelThreshOutput'"),
        ("Metric.Eval=[{AttrMetric: null}]", "did you mean 'ATTRMetric'"),
        ("Arch.class_num=3", "train_list.txt:1: 2 labels found, Arch.class_num is 3"),
        ("DataLoader.Train.dataset.label_ration=True", "did you mean 'label_ratio'"),
    ],
)
def test_what_does_not_fit_is_one_line(project, capsys, tmp_path, override, text):
    capsys.readouterr()
    assert call("train", project / "config.yaml", override, f"Global.output_dir={tmp_path}") == 2
    (line,) = errors(capsys)
    assert text in line


def test_a_dry_run_needs_no_images(project, tmp_path):
    lists = f"DataLoader.Train.dataset.cls_label_path={tmp_path}/nowhere.txt"
    assert call("train", project / "config.yaml", *SLIM, lists, arguments=["--dry-run"]) == 0


def test_a_metric_that_falls_is_no_measure_of_sensitivity(project, capsys):
    capsys.readouterr()
    metric = "Metric.Eval=[{HammingDistance: null}]"
    assert call("sensitivity", project / "config.yaml", metric, "Slim=null", weights(project)) == 2
    (line,) = errors(capsys)
    assert "Metric.Eval.0: HammingDistance is smaller for a better network" in line
