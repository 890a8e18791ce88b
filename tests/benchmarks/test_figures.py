"""The figures of the documentation are what the script draws, and show what the text says."""

import importlib
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def figures():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield importlib.import_module("figures")


def test_the_page_shows_every_figure_as_it_is_drawn_now(figures):
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert set(re.findall(r"images/(\w+)\.svg", page)) == set(figures.FIGURES)
    for name, draw in figures.FIGURES.items():
        text = (ROOT / "docs" / "images" / f"{name}.svg").read_text(encoding="utf-8")
        assert len(text) < 50_000
        committed, drawn = ElementTree.fromstring(text), ElementTree.fromstring(figures.svg(draw()))
        assert [element.tag for element in committed.iter()] == [element.tag for element in drawn.iter()]
        said, now = ([element.text for element in tree.iter(f"{SVG}text")] for tree in (committed, drawn))
        assert said == now


def test_the_median_has_the_least_sum_of_distances(figures):
    points = figures.filters()
    median = figures.geometric_median(points)
    rng = np.random.default_rng(0)

    def total(point):
        return np.linalg.norm(points - point, axis=1).sum()

    assert all(total(median) <= total(median + step) for step in rng.normal(0, 0.1, (50, 2)))
    near = np.argsort(np.linalg.norm(points - median, axis=1))[:4]
    assert set(np.argsort(figures.distances(points))[:4]) == set(near)
