"""A recognition model through training, evaluation and export; the classes are identities."""

import json

import numpy as np
import paddle
import pytest
import yaml
from support.commands import call, errors
from support.project import config, make_project

from ppcls_compress import io
from ppcls_compress.config.load import load_config
from ppcls_compress.deploy.predictor import Predictor
from ppcls_compress.engine import assemble

ARCH = {
    "name": "RecModel",
    "Backbone": {"name": "CIFARResNet8"},
    "BackboneStopLayer": {"name": "flatten"},
    "Neck": {"name": "FC", "embedding_size": 64, "class_num": 16},
    "Head": {"name": "ArcMargin", "embedding_size": 16, "class_num": 3, "margin": 0.1, "scale": 8},
    "infer_output_key": "features",
    "infer_add_softmax": False,
}
LOSS = {"Train": [{"CELoss": {}}, {"TripletLossV2": {"margin": 0.3}}], "Eval": [{"CELoss": {}}]}
METRIC = {"Eval": [{"Recallk": {"topk": [1, 5]}}, {"mAP": {}}]}


def retrieval_project(root):
    plain = config(root)
    loaders = plain["DataLoader"]
    loaders["Train"]["sampler"] = {"name": "PKSampler", "batch_size": 12, "sample_per_id": 4}
    loaders["Eval"] = {"Query": loaders["Eval"], "Gallery": {**loaders["Eval"]}}
    loaders["Eval"]["Gallery"]["dataset"] = {
        **loaders["Eval"]["Query"]["dataset"],
        "cls_label_path": f"{root}/images/train_list.txt",
    }
    sections = {
        "Global": {**plain["Global"], "eval_mode": "retrieval", "image_shape": [3, 8, 8], "export_check_images": 12},
        "Arch": ARCH,
        "Loss": LOSS,
        "DataLoader": loaders,
        "Metric": METRIC,
    }
    return make_project(root, **sections)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("retrieval")
    path = retrieval_project(root)
    assert call("train", path, "Global.epochs=2") == 0
    return path


def weights(project, name="best_model"):
    return f"Global.pretrained_model={project.parent}/output/RecModel/{name}"


def brute_force(project, features):
    """Recall@1 and mAP of each query by itself."""
    root = project.parent / "images"
    lines = {split: [line.split() for line in (root / f"{split}_list.txt").open()] for split in ("val", "train")}
    query, gallery = (features[: len(lines["val"])], features[len(lines["val"]) :])
    first, average = [], []
    for row, (_, label) in zip(query, lines["val"], strict=True):
        order = np.argsort([-(row @ other) for other in gallery], kind="stable")
        hits = [lines["train"][index][1] == label for index in order]
        places = [place for place, hit in enumerate(hits, start=1) if hit]
        first.append(hits[0])
        average.append(np.mean([(index + 1) / place for index, place in enumerate(places)]))
    return float(np.mean(first)), float(np.mean(average))


def embedded(project):
    """Features of the best model, of all queries and then the gallery."""
    loaded = load_config(project, ["Global.device=cpu", weights(project)])
    model = assemble.build_model(loaded)[0]
    model.eval()
    pipeline_of = loaded.DataLoader.Eval.query.dataset.transform_ops
    from ppcls_compress.data import build_pipeline, read_image

    pipeline, images = build_pipeline(pipeline_of), []
    for split in ("val", "train"):
        for line in (project.parent / "images" / f"{split}_list.txt").open():
            images.append(pipeline(read_image(project.parent / "images" / line.split()[0])))
    with paddle.no_grad():
        found = model(paddle.to_tensor(np.stack(images)))["features"].numpy()
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_the_score_equals_a_brute_force_reference_and_chooses_the_best_model(project, tmp_path):
    assert call("eval", project, weights(project), arguments=["--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    first, average = brute_force(project, embedded(project))
    assert list(found) == ["recall1", "recall5", "mAP"]
    assert found["recall1"] == pytest.approx(first)
    assert found["mAP"] == pytest.approx(average, abs=1e-6)


def told(text):
    return [json.loads(line) for line in text.splitlines()]


def test_inference_tells_features_of_a_checkpoint_and_of_an_artifact(project, tmp_path, capsys):
    photo = f"Infer.infer_imgs={project.parent}/images/val/000.png"
    folder = f"Global.save_inference_dir={tmp_path}/inference"
    assert call("export_model", project, weights(project), folder) == 0
    capsys.readouterr()
    assert call("infer", project, weights(project), photo) == 0
    (own,) = told(capsys.readouterr().out)
    assert call("infer", project, photo, arguments=["--artifact", f"{tmp_path}/inference"]) == 0
    (exported,) = told(capsys.readouterr().out)
    np.testing.assert_allclose(own["feature"], embedded(project)[0], atol=1e-4)
    np.testing.assert_allclose(exported["feature"], own["feature"], atol=1e-4)
    assert call("infer", project, weights(project), photo, "Global.feature_binarize=sign") == 0
    (bits,) = told(capsys.readouterr().out)
    assert set(bits["feature"]) <= {-1.0, 0.0, 1.0}
    assert Predictor(tmp_path / "inference").predict(f"{project.parent}/images/val/000.png") == [
        {"feature": exported["feature"]}
    ]


def test_an_export_is_compared_by_cosine(project, tmp_path, capsys):
    folder = f"Global.save_inference_dir={tmp_path}/inference"
    assert call("export_model", project, weights(project), folder) == 0
    assert "cosine 1.000000 on average over 12 images of DataLoader.Eval" in capsys.readouterr().err
    described = yaml.safe_load((tmp_path / "inference" / "inference.yml").read_text())
    assert described["Artifact"]["output"] == "features"
    assert described["Artifact"]["parity"]["agreement"] == pytest.approx(1)


def test_the_exported_feature_scores_the_same(project, tmp_path):
    folder = f"Global.save_inference_dir={tmp_path}/inference"
    assert call("export_model", project, weights(project), folder) == 0
    scores = []
    for arguments in ([], ["--artifact", f"{tmp_path}/inference"]):
        output = tmp_path / "found.json"
        assert call("eval", project, weights(project), arguments=[*arguments, "--json", str(output)]) == 0
        scores.append(json.loads(output.read_text()))
    assert scores[1] == pytest.approx(scores[0], abs=1e-6)


LEARNING = [
    {"CELoss": {}},
    {"CenterLoss": {"weight": 0.1, "num_classes": 3, "feat_dim": 16}},
    {
        "ContrastiveLoss_XBM": {
            "xbm_size": 40,
            "xbm_weight": 1.0,
            "start_iter": 1,
            "margin": 0.2,
            "embedding_size": 16,
        }
    },
]
OPTIMIZERS = [
    {"Momentum": {"scope": "RecModel", "lr": {"name": "Cosine", "learning_rate": 0.05}}},
    {"SGD": {"scope": "CenterLoss", "lr": {"name": "Constant", "learning_rate": 0.5}}},
]


def test_what_losses_learn_and_remember_is_resumed_too(project, tmp_path):
    """Centers and a memory of batches: two epochs at once are bit for bit two epochs with a stop between."""
    learning = (f"Loss={{Train: {json.dumps(LEARNING)}}}", f"Optimizer={json.dumps(OPTIMIZERS)}")
    kept = "Global.eval_during_train=False"
    whole, parts = (f"Global.output_dir={tmp_path}/{name}" for name in ("whole", "parts"))
    assert call("train", project, *learning, kept, whole, "Global.epochs=2") == 0
    assert call("train", project, *learning, kept, parts, "Global.epochs=2", "Global.save_interval=1") == 0
    first = f"Global.checkpoints={tmp_path}/parts/RecModel/epoch_1"
    again = f"Global.output_dir={tmp_path}/again"
    assert call("train", project, *learning, kept, again, "Global.epochs=2", first) == 0
    for suffix in ("pdparams", "pdloss"):
        expected, found = (io.read_state(f"{tmp_path}/{name}/RecModel/latest.{suffix}") for name in ("whole", "again"))
        flat = [leaves(state) for state in (expected, found)]
        assert flat[0].keys() == flat[1].keys()
        assert all(np.array_equal(flat[0][name], flat[1][name]) for name in flat[0])
    assert flat[0]["ContrastiveLoss_XBM.counts"].tolist() == [4, 36, 36]
    before = leaves(io.read_state(f"{tmp_path}/parts/RecModel/epoch_1.pdloss"))
    assert not np.array_equal(before["CenterLoss.centers"], flat[0]["CenterLoss.centers"])


def leaves(state, path=""):
    """Arrays of nested dictionaries by path."""
    if isinstance(state, dict):
        return {name: array for key, value in state.items() for name, array in leaves(value, f"{path}.{key}").items()}
    return {path.removeprefix("."): state}


def test_another_loss_that_learns_is_no_run_that_goes_on(project, capsys):
    latest = f"Global.checkpoints={project.parent}/output/RecModel/latest"
    loss = f"Loss={{Train: {json.dumps(LEARNING)}}}"
    assert call("train", project, "Global.epochs=3", latest, loss) == 2
    assert "has no loss that learns, and Loss.Train has CenterLoss, ContrastiveLoss_XBM" in errors(capsys)[0]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("Global.eval_mode=classification", "Global.eval_mode is classification: expected {dataset:"),
        ("Metric.Eval=[{TopkAcc: {topk: 1}}]", "Global.eval_mode is retrieval; choose one of Precisionk, Recallk"),
        ("Metric.Train=[{Recallk: {topk: 1}}]", "is measured on a gallery, not in training; choose one of"),
        ("Arch.Head.class_num=2", "label 2 is outside 0 .. 1"),
        ("DataLoader.Eval.Gallery.dataset.cls_label_path=nowhere", "DataLoader.Eval.Gallery.dataset.cls_label_path: "),
        ("DataLoader.Eval.Query.dataset.image_rot=x", "DataLoader.Eval.Query.dataset: unknown key 'image_rot'"),
        ("Arch.Neck.embedding_size=100", "layer neck.fc"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_with_its_key(project, capsys, override, told):
    assert call("train", project, override) == 2
    assert told in " ".join(errors(capsys))


def test_metrics_left_out_are_recall_and_mean_average_precision(project, tmp_path):
    content = yaml.safe_load(project.read_text())
    del content["Metric"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    loaded = load_config(tmp_path / "config.yaml")
    assert [metric.main for metric in loaded.Metric.Eval] == ["recall1", "mAP"]


@pytest.mark.slow
def test_what_is_deployed_has_no_head(project, tmp_path, capsys):
    """Neither in the files, nor in the numbers that describe them, nor in the formats that there are."""
    heads = [{"name": "ArcMargin"}, {"name": "FC"}]
    for number, head in enumerate(heads):
        own = [
            f"Arch.Head={json.dumps({**head, 'embedding_size': 16, 'class_num': 3000})}",
            "Slim={quant: {name: pact}}",
        ]
        output, folder = f"Global.output_dir={tmp_path}/{number}", f"Global.save_inference_dir={tmp_path}/{number}/x"
        assert call("train", project, *own, output, "Global.epochs=1", "Loss.Train=[{CELoss: {}}]") == 0
        trained = f"Global.pretrained_model={tmp_path}/{number}/RecModel/latest"
        assert call("export_model", project, *own, trained, folder, arguments=["--format", "paddle", "onnx-ort"]) == 0
        place = tmp_path / str(number) / "x"
        described = yaml.safe_load((place / "inference.yml").read_text())["Artifact"]
        assert described["params"] < 80_000
        assert (place / "onednn").is_dir()
        assert sum(file.stat().st_size for file in place.rglob("*.pdiparams")) < 3 * 80_000 * 4
    assert "not written" not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("slim", ["{prune: {name: fpgm, pruned_ratio: 0.3}}", "{quant: {name: pact}}"])
def test_recognition_models_are_pruned_and_quantized(project, tmp_path, slim):
    output = f"Global.output_dir={tmp_path}"
    assert call("train", project, f"Slim={slim}", output, weights(project), "Global.epochs=1") == 0
    record = json.loads((tmp_path / "RecModel" / "latest.slim.json").read_text())
    (step,) = record["steps"]
    trained = f"Global.pretrained_model={tmp_path}/RecModel/latest"
    inference = f"Global.save_inference_dir={tmp_path}/inference"
    assert call("export_model", project, f"Slim={slim}", trained, inference) == 0
    whole = {entry["layer"] for entry in step["pinned" if step["kind"] == "prune" else "skipped"]}
    assert whole == ({"neck.fc", "head"} if step["kind"] == "prune" else {"head"})
