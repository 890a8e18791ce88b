"""docs/extending.md, followed to the letter: its code goes into a copy of the package, which then has all of it."""

import json
import os
import subprocess
import sys

import pytest
from support.extending import ROOT, extended, read
from support.layout import linted

TABLE, SECTIONS = read()
MISSPELT = {
    "a pruning criterion": "largest_weight",
    "a way to choose what is pruned": "first",
    "a quantizer": "MeanQuantizer",
    "a step of the Slim section": "sparse",
    "a backbone": "AtanNet8",
    "a neck or a head": "Shrink",
    "an answer": "OnlyIfSure",
    "a transform": "RandInvertImage",
    "a batch transform": "DimOperator",
    "a data set": "ClassFolders",
    "a sampler": "PartBatchSampler",
    "a loss": "ModestLoss",
    "a metric": "SureAcc",
    "an optimizer": "Adamax",
    "a schedule": "InverseRoot",
    "a format": "paddle-copy",
    "a runtime": "jit",
    "a hook": "tell_gradients",
    "a key": "run_name",
    "a command": "count",
}


def test_what_is_added_is_listed_with_its_places_and_there_are_three_at_most():
    assert {section.title: len(section.places) for section in SECTIONS} == TABLE
    assert max(TABLE.values()) <= 3


def test_what_is_shown_fits_a_screen():
    assert {
        block.path: block.text for section in SECTIONS for block in section.blocks if block.text.count("\n") >= 40
    } == {}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    root = tmp_path_factory.mktemp("package")
    extended(SECTIONS, root)
    return root


def test_what_is_added_follows_the_rules_of_the_house(package):
    code, text = linted(package, package / ".importlinter")
    assert code == 0, text
    for words in (["check", "--fix"], ["format", "--check"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *words, "."], cwd=package, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def found(package, tmp_path_factory):
    """What the commands of the copy did, in a process of its own."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "configs.json").write_text(json.dumps({item.title: item.config for item in SECTIONS if item.config}))
    path = os.pathsep.join([str(package), str(ROOT / "tests")])
    words = [sys.executable, "-P", "-W", "ignore", str(ROOT / "tests" / "support" / "extended.py"), str(folder)]
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "found.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("title", MISSPELT)
def test_the_name_is_told_where_a_user_misspells_it(found, title):
    assert f"did you mean {MISSPELT[title]!r}?" in found["misspelt"][title]


@pytest.mark.slow
def test_a_run_is_made_of_what_was_added(found):
    settings = found["trained"]["settings"]
    expected = {
        "Optimizer.beta1": 0.8,
        "Optimizer.lr.name": "InverseRoot",
        "Loss.Train.1.ModestLoss.weight": 0.01,
        "DataLoader.Train.dataset.name": "ClassFolders",
        "DataLoader.Train.dataset.transform_ops.1.RandInvertImage.prob": 0.25,
        "DataLoader.Train.dataset.batch_transform_ops.0.DimOperator.darkest": 0.75,
        "DataLoader.Train.sampler.batches": 2,
        "images in an epoch": 24,
    }
    assert {key: settings.get(key) for key in expected} == expected
    assert "ModestLoss 0.00" in found["trained"]["first"]
    assert "evaluation: sure " in found["trained"]["first"]


@pytest.mark.slow
def test_a_doubt_and_a_hook_are_heard(found):
    assert "WARNING Global.epochs: is 1; the statistics of batch norms need some epochs" in found["trained"]["first"]
    assert "Global.epochs: is 1" not in found["trained"]["resumed"]
    assert "largest gradient: " in found["trained"]["first"]


@pytest.mark.slow
def test_a_run_that_is_resumed_is_the_one_that_was_not_stopped(found):
    assert found["trained"]["same"]
    assert found["trained"]["progress"] | {"epoch": 2, "step": 4} == found["trained"]["progress"]
    assert "lr 0.00577," in found["trained"]["resumed"]  # 0.01 / 3 ** 0.5, past the end of the second epoch


@pytest.mark.slow
def test_a_step_and_a_criterion_are_in_the_record_and_no_operator_held_a_channel(found):
    pruned, sparse = found["trained"]["steps"]
    assert pruned["options"]["name"] == "largest_weight"
    assert pruned["pinned"] == []
    assert sparse == {"kind": "sparse", "version": 1, "options": {"share": 0.75}}
    assert "75% of the weights of convolutions are zero" in found["trained"]["first"]
    assert "Slim.sparse.share: the weights were made with 0.75, the configuration says 0.5" in found["contradicted"]


@pytest.mark.slow
def test_another_backend_chooses(found):
    (step,) = found["backed"]
    assert step["options"]["backend"] == "first"
    assert step["kept"]["first.conv.weight"] == {"0": [4, 5, 6, 7]}


@pytest.mark.slow
def test_a_criterion_is_measured_by_layer(found):
    assert {len(losses) for losses in found["sensitivities"]["sensitivities"].values()} == {9}
    assert "first.conv pruned by 10%" in found["measured"]


@pytest.mark.slow
def test_formats_are_written_and_run(found):
    for name in ("paddle-copy", "jit"):
        assert f"{name}, compared with the model: same class for 100.00% of 12 images" in found["exported"]
        assert f"inference/{name}/inference.yml" in found["files"]


@pytest.mark.slow
def test_a_quantizer_follows_the_other_steps(found):
    assert [step["kind"] for step in found["steps"]] == ["prune", "sparse", "quant"]
    assert found["steps"][2]["options"]["activation_quantizer"] == "MeanQuantizer"
    assert "evaluation: sure " in found["quantized"]


@pytest.mark.slow
def test_a_neck_gives_the_feature(found):
    assert found["features"] == [2, 8]


@pytest.mark.slow
def test_an_answer_is_given(found):
    answers = [json.loads(line) for line in found["answers"].splitlines() if line.startswith("{")]
    assert len(answers) == 12
    assert {answer["class"] for answer in answers} == {None}


@pytest.mark.slow
def test_a_command_answers(found):
    # 8 * 3 * 9 + 16 * 8 * 9 weights of convolutions, 2 * (8 + 16) of batch norms, 16 * 3 + 3 of the classifier
    assert found["count"].startswith("AtanNet8: 1467 parameters, ")


@pytest.mark.slow
def test_a_fusion_fuses(found):
    if found["fused"] is None:
        pytest.skip("the extra onnx is not installed")
    assert found["fused"] == ["Mul"]
