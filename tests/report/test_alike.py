"""Networks on one page are judged on the same images; that they were made for others is told."""

import numpy as np
import pytest
from support.exporting import export
from support.project import CLASSES, SIZE, make_project

from ppcls_compress.cli import main
from ppcls_compress.config.load import load_config
from ppcls_compress.data.transforms.lists import parse_transforms
from ppcls_compress.deploy import artifact
from ppcls_compress.errors import UserError
from ppcls_compress.models import build
from ppcls_compress.report import alike
from ppcls_compress.report.page.answers import ask

SHAPE = [3, SIZE, SIZE]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("alike")
    config = make_project(root)
    ops = load_config(config, []).DataLoader.Eval.dataset.transform_ops
    model = build("CIFARResNet8", class_num=CLASSES)
    turned = parse_transforms([{"DecodeImage": {"to_rgb": not ops[0].to_rgb}}])
    names = [f"kind {index}" for index in range(CLASSES)]
    for name, preprocess, classes in (("one", ops, names), ("other", [*turned, *ops[1:]], names[::-1])):
        export(model, root / name, image_shape=SHAPE, preprocess=tuple(preprocess), class_names=tuple(classes))
    return config


def test_that_a_network_was_made_for_other_values_or_calls_classes_otherwise_is_told(project):
    config = load_config(project, [])
    one, other = (artifact.load(project.parent / name) for name in ("one", "other"))
    assert list(alike.doubts(config, {"one": one, "again": one})) == []
    values, classes = alike.doubts(config, {"one": one, "other": other})
    assert values.startswith("other: was made for images prepared otherwise, in colours (DecodeImage);")
    assert classes.startswith(f"other: calls class 0 'kind {CLASSES - 1}', and one 'kind 0';")


@pytest.mark.parametrize("page", [True, False])
def test_the_report_tells_it(project, tmp_path, capsys, page):
    file = tmp_path / "page.html"
    shown = ["--page", str(file)] if page else []
    folders = [str(project.parent / name) for name in ("one", "other")]
    assert main(["report", "-c", str(project), "--rounds", "1", *shown, *folders]) == 0
    assert "was made for images prepared otherwise" in capsys.readouterr().err
    assert not page or '<p class="bad">' in file.read_text(encoding="utf-8")


def test_a_network_for_images_of_another_size_is_named(project):
    class Small:
        def run(self, images):
            raise UserError("takes images of another shape")

    class Any:
        def run(self, images):
            return np.zeros((len(images), CLASSES), np.float32)

    with pytest.raises(UserError, match="^small: takes images of another shape$"):
        ask(load_config(project, []), {"any": Any(), "small": Small()})
