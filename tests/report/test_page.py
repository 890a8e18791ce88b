"""The page about compressed classifiers: what it tells, and that it needs nothing else and takes any name as text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from support.exporting import export
from support.outline import outline
from support.project import CLASSES, SIZE, make_project

from ppcls_compress.cli import main
from ppcls_compress.config.load import load_config
from ppcls_compress.deploy.artifact import Artifact, Description
from ppcls_compress.deploy.measure import latency
from ppcls_compress.errors import UserError
from ppcls_compress.models import build
from ppcls_compress.report.page import about, html
from ppcls_compress.report.page.answers import Answers, ask
from ppcls_compress.report.page.runs import Run

measure = latency.measure


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("page")
    config = make_project(root)
    model = build("CIFARResNet8", class_num=CLASSES)
    for name in ("dense", "small"):
        export(model, root / name / "inference", image_shape=[3, SIZE, SIZE])
    return config


def test_a_page_of_two_runs_stands_alone_and_is_measured_once_for_the_table_too(project, tmp_path, capsys, monkeypatch):
    root, file = project.parent, tmp_path / "report.html"
    asked = []
    monkeypatch.setattr(latency, "measure", lambda *args, **how: asked.append(how) or measure(*args, **how))
    named = [f"dense={root / 'dense'}", f"<b>small={root / 'small'}"]
    told = ["--page", str(file), "--out", str(tmp_path / "rows.json"), "--rounds", "2"]
    assert main(["report", "-c", str(project), *told, *named]) == 0
    assert len(asked) == 1
    rows = json.loads((tmp_path / "rows.json").read_text())
    text = file.read_text(encoding="utf-8")
    found = outline(text)
    assert not found.loaded
    assert "script" not in found.tags
    assert "&lt;b&gt;small" in text
    titles = re.findall(r"<h2 .*?>(.*?)</h2>", text)
    assert titles[:2] == ["Before and after", "Latency"]
    assert titles[2:5] == ["Accuracy against latency", "Classes", "Images whose answer changed"]
    assert "0 of 12 images" in text
    assert all(f"<td>{row['top1']:.2f}</td>" in text and f"<td>{row['latency_ms']:.2f}</td>" in text for row in rows)
    shown = re.search(r'<pre tabindex="0">(ppcls-compress.*?)</pre>', text)[1]
    assert shown.startswith(
        f"ppcls-compress report -c {project} --page {file} --out {tmp_path / 'rows.json'} --threads 1"
    )
    assert shown.endswith(f"small={root / 'small'}&#x27;")
    pictures = sorted(path.name for path in (tmp_path / "report_pictures").iterdir())
    assert "01_latency_of_each_file_in_its_runtimes.png" in pictures
    assert all((tmp_path / "report_pictures" / name).read_bytes().startswith(b"\x89PNG") for name in pictures)


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
        (["--out", "rows.json"], "--out: is for the rows of the table, which needs a configuration"),
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


def test_the_page_says_in_what_each_file_runs_and_how():
    description = Description((3, SIZE, SIZE), format="onnx-openvino", setting="bfloat16")
    record = {"version": 1, "steps": []}
    run = Run("small", Path("small"), [Artifact(Path("small"), description, record, {})], record)
    assert '<td class="word">OpenVINO, bfloat16</td>' in about.exported(run, named=False).html()


def test_in_tables_numbers_end_in_line_words_begin_in_line_and_sentences_are_broken():
    sentence = "what stays whole, and the reason why it does so here"
    cells = [
        "conv",
        "1,024",
        "-0.5%",
        "1.20x",
        "6.9e-08",
        "64 x 3 x 7 x 7",
        '<span class="good">+1.0</span>',
        "",
        sentence,
    ]
    text = html.table(["layer", *"abcdefg", "why"], [cells])
    kinds = re.findall(r"<td(.*?)>", text)
    assert kinds == [' class="word"', *[""] * 7, ' class="text"']
    assert re.findall(r'<th scope="col"(.*?)>', text) == kinds
    assert ' class="word">4 images</td>' in html.table(["on"], [["4 images"]])


def test_the_page_of_one_network_has_no_ratios_to_itself_and_says_how_to_compare(project, tmp_path):
    page = tmp_path / "page.html"
    command = ["report", "-c", str(project), "--page", str(page), "--rounds", "1"]
    assert main([*command, f"only={project.parent / 'dense'}"]) == 0
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"<h2 .*?>(.*?)</h2>", text)[:2] == ["Size and speed", "Latency"]
    assert ">speed-up<" not in text
    assert "name that one first" in text
    assert ">paddle in Paddle Inference</text>" in text
    assert "top-1 on 12 images" in text
    assert main([*command, f"a={project.parent / 'dense'}", f"b={project.parent / 'small'}"]) == 0
    text = page.read_text(encoding="utf-8")
    assert ">speed-up<" in text
    assert "name that one first" not in text
    assert ">b, paddle in Paddle Inference</text>" in text
    assert "top-1 of b, on 12 images" in text
