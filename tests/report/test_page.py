"""The page about compressed classifiers: what it tells, and that it needs nothing else and takes any name as text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from support.exporting import export
from support.project import CLASSES, SIZE, make_project

from ppcls_compress.cli import main
from ppcls_compress.config.load import load_config
from ppcls_compress.errors import UserError
from ppcls_compress.models import build
from ppcls_compress.report.page import runs, svg, write
from ppcls_compress.report.page.answers import Answers, ask

VOID = {"meta", "img", "br"}


class Outline(HTMLParser):
    """What is open at the end, and every attribute that would load something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loaded += [value for name, value in attrs if name in ("src", "href") and not value.startswith("data:")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def outline(text: str) -> Outline:
    found = Outline()
    found.feed(text)
    assert found.open == []
    return found


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("page")
    config = make_project(root)
    model = build("CIFARResNet8", class_num=CLASSES)
    for name in ("dense", "small"):
        export(model, root / name / "inference", image_shape=[3, SIZE, SIZE])
    return config


def test_a_page_of_two_runs_stands_alone(project, tmp_path, capsys):
    root, file = project.parent, tmp_path / "report.html"
    named = [f"dense={root / 'dense'}", f"<b>small={root / 'small'}"]
    assert main(["report", "-c", str(project), "--page", str(file), "--rounds", "2", *named]) == 0
    text = file.read_text(encoding="utf-8")
    found = outline(text)
    assert not found.loaded
    assert "script" not in found.tags
    assert "&lt;b&gt;small" in text
    titles = re.findall(r"<h2>(.*?)</h2>", text)
    assert titles[:4] == ["Before and after", "Accuracy against latency", "Classes", "Images whose answer changed"]
    assert "0 of 12 images" in text
    shown = re.search(r'<pre tabindex="0">(ppcls-compress.*?)</pre>', text)[1]
    assert shown.startswith(f"ppcls-compress report -c {project} --page {file} --threads 1 --batch-size 1 --rounds 2 ")
    assert shown.endswith(f"small={root / 'small'}&#x27;")


class Bright:
    """Answers with the brightest channel, which is the class of an image here."""

    def run(self, images):
        return images.mean(axis=(2, 3))[:, ::-1] if self.swapped else images.mean(axis=(2, 3))

    def __init__(self, *, swapped):
        self.swapped = swapped


def test_answers_stand_beside_their_own_images_in_whatever_order_a_configuration_reads_them(project):
    options = ["DataLoader.Eval.sampler={name: DistributedBatchSampler, batch_size: 5, shuffle: True, drop_last: True}"]
    found = ask(load_config(project, options), {"right": Bright(swapped=False), "wrong": Bright(swapped=True)})
    assert [int(path[-7:-4]) % CLASSES for path in found.paths] == found.labels.tolist()
    assert len(found.labels) == 12
    assert (found.top1("right"), found.top1("wrong")) == (1.0, pytest.approx(1 / 3))


def test_images_with_several_labels_have_no_such_page(project):
    config = load_config(project, ["Global.eval_mode=classification"])
    several = config.model_copy(update={"Global": config.Global.model_copy(update={"use_multilabel": True})})
    with pytest.raises(UserError, match="--page: shows classes, one for each image"):
        ask(several, {})


def test_a_folder_without_an_exported_model_is_refused(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    assert main(["report", str(tmp_path / "run")]) == 2
    assert "holds no exported model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "rows.json"], "--out: the rows are those of the table, which needs a configuration"),
        (["-o", "Global.epochs=1"], "-o"),
    ],
)
def test_arguments_that_contradict_are_refused(project, arguments, message, capsys):
    assert main(["report", str(project.parent / "dense"), *arguments]) == 2
    assert message in capsys.readouterr().err


def answers() -> Answers:
    labels = np.array([0, 0, 1, 1, 2])
    return Answers(list("abcde"), labels, {"old": np.array([0, 1, 1, 1, 0]), "new": np.array([0, 0, 0, 1, 1])}, 4)


def test_answers_are_counted():
    found = answers()
    assert found.top1("old") == found.top1("new") == 0.6
    np.testing.assert_array_equal(found.confusion("old")[:3, :3], [[1, 1, 0], [0, 2, 0], [1, 0, 0]])
    np.testing.assert_array_equal(found.per_class("new")[:3], [1.0, 0.5, 0.0])
    np.testing.assert_array_equal(found.counts, [2, 2, 1, 0])
    assert np.isnan(found.per_class("new")[3])
    assert found.changed("old", "new").tolist() == [2, 4, 1]  # lost, neither, won


def test_epochs_of_quantizers_are_read_and_damage_is_told(tmp_path):
    row = {"layer": "conv", "limit": 2.0, "clip_rate": None, "alpha": 2.0}
    file = tmp_path / "Net" / "quantizers.jsonl"
    file.parent.mkdir()
    file.write_text(json.dumps({"epoch": 1, "layers": [row]}) + "\n")
    assert runs.epochs(tmp_path, None) == [{"epoch": 1, "layers": [("conv", 2.0, 0.0)]}]
    file.write_text('{"epoch": 1, "layers": 3}\n')
    with pytest.raises(UserError, match=r"quantizers.jsonl, line 1: not what training writes there"):
        runs.epochs(tmp_path, None)


def test_sections_about_layers_tell_what_the_record_has():
    layer = {
        "name": "a&b",
        "before": {"shape": [16, 3, 3, 3], "flops": 90},
        "after": {"shape": [9, 3, 3, 3], "flops": 50},
    }
    text = write.kept({"layers": [layer, {**layer, "name": "fc", "before": {"shape": [8, 4], "flops": 1}}]})
    outline(text)
    assert "a&amp;b" in text
    assert "9 of 16" in text
    ranges = write.ranges([{"epoch": 1, "layers": [("conv", 2.5, 0.125)]}])
    outline(ranges)
    assert "12.5" in ranges
    assert "2.5" in ranges


def test_drawings_tell_their_numbers():
    drawn = svg.points({"slow": (40.0, 90.0), "fast": (1.0, 89.0)}, "ms", "top-1 %", "title")
    outline(drawn)
    assert "ms (log)" in drawn
    assert "(log)" not in svg.points({"one": (2.0, 90.0)}, "ms", "top-1 %", "title")
    cells = svg.shaded(["r"], ["a", "b"], [[50.0, None]], "title")
    outline(cells)
    assert cells.count("<rect") == 1
    assert "r, a: 50 %" in cells
