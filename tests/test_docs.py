"""What the pages of docs/ and the README say is there: links, anchors, configurations, commands, and code that runs."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from support import readme

from ppcls_compress import models
from ppcls_compress.cli import COMMANDS
from ppcls_compress.config.schema import SlimSection

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks" / "README.md"])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def fenced(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def anchors(page: Path) -> set[str]:
    """As Python-Markdown and code hosts make them of headings."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_files_and_headings(name):
    page = ROOT / name
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path) if path else page
        assert found.exists(), f"{name}: {target}"
        assert not anchor or anchor in anchors(found), f"{name}: {target}"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "docs/extending.md"])  # which adds one
def test_commands_and_scripts_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for command in re.findall(r"ppcls-compress ([a-z_]+)\b", text):
        assert command in COMMANDS, f"{name}: ppcls-compress {command}"
    for script in re.findall(r"(?<![\w/.])((?:tools|benchmarks|tests)/[a-z_\d/]+\.(?:py|sh))", text):
        assert (ROOT / script).is_file(), f"{name}: {script}"


def test_the_first_page_is_light():
    shown = re.findall(r"!\[[^]]*\]\(([^)\s]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert shown
    assert sum((ROOT / name).stat().st_size for name in ["README.md", *shown]) < 500_000


def test_the_versions_on_the_first_page_are_those_that_are_declared():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    names, works = (
        row.strip("|").split("|")[1:] for row in re.search(r"(\| PaddlePaddle .*)\n.*\n(.*)", text).groups()
    )
    lowest = re.search(r"paddlepaddle>=(\d+\.\d+)", (ROOT / "setup.py").read_text(encoding="utf-8"))[1]
    told = {name.strip(): answer.strip() for name, answer in zip(names, works, strict=True)}
    assert told.pop("2.x") == "no"
    assert min(told) == lowest
    assert set(told.values()) == {"yes"}
    assert ".".join(paddle.__version__.split(".")[:2]) in told


def test_every_page_is_in_the_navigation():
    listed = [path for entry in yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"] for path in entry.values()]
    assert sorted(listed) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("material", "mkdocstrings"))), reason="the extra docs is not installed"
)
def test_the_site_is_built_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "pc.compress" in (tmp_path / "site/reference/index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["docs/migrating.md", "docs/choosing.md"])
def test_sections_that_are_shown_are_accepted(name):
    found = fenced(name, "yaml")
    assert found
    for text in found:
        SlimSection.model_validate(yaml.safe_load(text)["Slim"])


@pytest.mark.parametrize("number", [0, 1])
def test_programs_written_for_paddleslim_run(number, tmp_path):
    paddle.seed(0)
    net = models.build("CIFARResNet8", class_num=10)
    given = {
        "net": net,
        "weight": net.state_dict()["stem.conv.weight"].name if number == 0 else None,
        "batches": [paddle.to_tensor(np.random.default_rng(0).standard_normal((4, 3, 32, 32), np.float32))],
        "folder": str(tmp_path),
        "spec": paddle.static.InputSpec([None, 3, 32, 32], "float32"),
    }
    exec(compile(fenced("docs/migrating.md", "python")[number], "docs/migrating.md", "exec"), given)
    if number == 1:
        assert list(tmp_path.glob("int8.*"))


@pytest.mark.slow
def test_programs_of_the_readme_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paddle.seed(0)
    with paddle.utils.unique_name.guard():
        model, net = (models.build("CIFARResNet8", class_num=10) for _ in range(2))
    images = np.random.default_rng(0).standard_normal((4, 3, 224, 224), np.float32)
    given = {"model": model, "net": net, "images": images, "loader": [paddle.to_tensor(images)]}
    programs = readme.programs()
    for program in programs:
        exec(compile(program, "README.md", "exec"), given)
    assert len(programs) == 2
    assert all(
        (tmp_path / name).is_file() for name in ("small.pdparams", "small.slim.json", "inference/inference.json")
    )
    assert [step["kind"] for step in given["record"]["steps"]] == ["prune"]
