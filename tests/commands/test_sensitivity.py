import json

import cv2
import pytest
import yaml
from support.project import make_project

from ppcls_compress.cli import main


def call(root, *arguments, **overrides):
    texts = [f"Global.pretrained_model={root}/dense/CIFARResNet8/best_model"]
    return main(["sensitivity", "-c", f"{root}/config.yaml", "--out", f"{root}/out", "-o", texts[0], *arguments])


pytestmark = pytest.mark.slow  # sixty-three prunings and evaluations


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("sensitivity")
    config = make_project(root)
    assert main(["train", "-c", str(config), "-o", f"Global.output_dir={root}/dense"]) == 0
    return root


def test_curves_json_and_ratios_that_the_pruner_takes(trained, capsys):
    assert call(trained, "--target-flops", "0.7") == 0
    told = capsys.readouterr().err
    assert "left" in told
    table = json.loads((trained / "out" / "sensitivity.json").read_text())["sensitivities"]
    assert all(set(row) == {f"0.{step}" for step in range(1, 10)} for row in table.values())
    assert cv2.imread(str(trained / "out" / "sensitivity.png")).shape[0] > 100
    section = yaml.safe_load((trained / "out" / "suggested.yaml").read_text())["Slim"]
    assert set(section["prune"]["pruned_ratio"]) <= {
        "stem.conv", *(f"blocks.{block}.conv{index}.conv" for block in range(3) for index in range(2))
    }  # fmt: skip
    start = [f"Slim={json.dumps(section)}", f"Global.pretrained_model={trained}/dense/CIFARResNet8/best_model"]
    overrides = [part for text in start for part in ("-o", text)]
    assert main(["train", "-c", f"{trained}/config.yaml", "--dry-run", *overrides]) == 0
    assert "FLOPs (multiply-adds)" in capsys.readouterr().err


def test_a_stopped_run_goes_on(trained, capsys):
    file = trained / "out" / "sensitivity.json"
    whole = json.loads(file.read_text())
    cut = whole | {"sensitivities": dict(list(whole["sensitivities"].items())[:-1]), "complete": False}
    file.write_text(json.dumps(cut))
    capsys.readouterr()
    assert call(trained) == 0
    assert json.loads(file.read_text()) == whole
    assert capsys.readouterr().err.count("pruned by") == 9


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--target-flops", "1.5"], "--target-flops: expected a share between 0 and 1"),
        (["--images", "0"], "--images: expected 1 or more"),
        (["--images", "16"], "sensitivity.json: images: measured with all, now 16"),
        (["--target-flops", "0.001"], "can be removed"),
    ],
)
def test_bad_requests_are_one_line(trained, capsys, arguments, expected):
    assert call(trained, *arguments) == 2
    assert expected in capsys.readouterr().err
