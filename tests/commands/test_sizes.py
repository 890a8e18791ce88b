"""Images of another size than `Global.image_shape`."""

import pytest
from support.commands import call
from support.project import make_project

LARGER = "Global.image_shape=[3, 16, 16]"
TOLD = (
    "DataLoader.Eval.dataset.transform_ops: make images of [3, 8, 8], on which the score is measured; "
    "Global.image_shape is [3, 16, 16]"
)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A project whose images are of 8 x 8, trained where `Global.image_shape` says 16 x 16."""
    config = make_project(tmp_path_factory.mktemp("sizes"))
    assert call("train", config, LARGER, "Global.epochs=1") == 0
    return config


def weights(config):
    return f"Global.pretrained_model={config.parent}/output/CIFARResNet8/latest"


def test_the_score_is_that_of_the_images_as_they_are_and_a_line_tells(config, tmp_path, capsys):
    scores = []
    for size in ("Global.image_shape=[3, 8, 8]", LARGER):
        assert call("eval", config, weights(config), size, arguments=["--json", str(tmp_path / "score")]) == 0
        scores.append((tmp_path / "score").read_text())
        assert capsys.readouterr().err.count(TOLD) == (size == LARGER)
    assert scores[0] == scores[1]
    assert call("train", config, LARGER, "Global.epochs=1", f"Global.output_dir={tmp_path}") == 0
    assert capsys.readouterr().err.count(TOLD) == 1


def test_inference_takes_what_its_transforms_make(config, capsys):
    resized = "Infer.transforms.1={ResizeImage: {size: 12}}"
    answers = []
    for size in ("Global.image_shape=[3, 12, 12]", LARGER):
        assert call("infer", config, weights(config), size, resized) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1] != ""


def test_an_export_is_compared_on_images_of_its_own_size(config, tmp_path):
    assert call("export_model", config, weights(config), LARGER, f"Global.save_inference_dir={tmp_path}") == 0
    text = (tmp_path / "inference.yml").read_text()
    assert "images of DataLoader.Eval, resized to 16 x 16" in text
    assert "agreement: 1.0" in text


def test_a_network_that_does_not_take_them_is_refused_before_it_is_trained(config, tmp_path, capsys):
    arch = "Arch={name: SqueezeNet1_1, class_num: 3}"
    assert call("train", config, arch, "Global.image_shape=[3, 64, 64]", f"Global.output_dir={tmp_path}") == 2
    told = capsys.readouterr().err
    assert "Global.image_shape: Arch.name SqueezeNet1_1 does not take images of [3, 8, 8]" in told
    assert not list(tmp_path.rglob("*.pdparams"))
