"""What `page_check.py` calls serious, and what it finds in a real browser where there is one."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "page_check.py"


@pytest.fixture(scope="module")
def page_check():
    spec = importlib.util.spec_from_file_location("page_check", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["page_check"] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules["page_check"]


def test_every_width_and_scheme_and_print_is_looked_at(page_check):
    seen = {str(view) for view in page_check.VIEWS}
    screens = {f"{width} {scheme}" for width in (390, 900, 1400) for scheme in ("light", "dark")}
    assert seen == screens | {"print light", "print dark"}


def test_nothing_is_serious_about_a_view_in_order(page_check):
    found = page_check.Found(violations=[("moderate", "region", 3), ("minor", "empty-heading", 1)], sideways=4)
    assert [page_check.faults(view, found) for view in page_check.VIEWS] == [[]] * len(page_check.VIEWS)
    assert page_check.too_heavy(4_999_999) == []


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"console": ["Uncaught x"]}, "console: Uncaught x"),
        ({"requests": ["http://a/b.css", "http://a/b.css"]}, "asks for http://a/b.css"),
        ({"overflow": 7}, "the body is 7 px wider than the page"),
        ({"violations": [("serious", "color-contrast", 2)]}, "axe: color-contrast (serious, 2x)"),
        ({"violations": [("critical", "image-alt", 1)]}, "axe: image-alt (critical, 1x)"),
        ({"smallest": 5.0}, "letters of 5.0 px, less than 7.5"),
    ],
)
def test_each_fault_is_serious_and_told_once(page_check, fault, told):
    view = page_check.View(390, "dark")
    found = page_check.Found(**fault)
    assert page_check.faults(view, found) == [told]
    cells = page_check.row("report", 1_500_000, view, found, [told])
    assert (cells[0], cells[1], cells[2], cells[-1]) == ("report", "1.50", "390 dark", "1 SERIOUS")


def test_what_is_cut_off_matters_in_print_alone(page_check):
    found = page_check.Found(cut=['pre "x" hides a part'])
    assert page_check.faults(page_check.View(390, "light"), found) == []
    assert page_check.faults(page_check.View(718, "light", "print"), found) == [
        'cut off in print: pre "x" hides a part'
    ]


def test_a_page_of_5_megabytes_is_too_heavy(page_check):
    assert page_check.too_heavy(5_000_000) == ["5.0 MB, not under 5 MB"]


@pytest.mark.parametrize(
    ("address", "outside"),
    [
        ("file:///a/report.html", False),
        ("file:///a/report.html#s1", False),
        ("data:image/png;base64,AA==", False),
        ("file:///a/style.css", True),
        ("https://example.org/report.html", True),
    ],
)
def test_a_request_leaves_the_page_unless_it_is_for_the_page(page_check, address, outside):
    assert page_check.leaves(address, "file:///a/report.html") is outside


def test_violations_are_counted_by_impact_the_worst_first(page_check):
    found = [("minor", "a", 1), ("serious", "b", 9), ("minor", "c", 2)]
    assert page_check.by_impact(found) == "1 serious, 2 minor"
    assert page_check.by_impact([]) == "0"


def test_pages_have_names_that_tell_them_apart(page_check):
    assert page_check.short_names([Path("/a/x/report.html"), Path("/a/y/report.html")]) == ["x/report", "y/report"]
    assert page_check.short_names([Path("/a/x/report.html")]) == ["report"]


@pytest.mark.parametrize(
    ("missing", "told"), [("playwright", "Playwright is not in"), ("axe_playwright_python", "axe-core is not in")]
)
def test_what_is_missing_is_told_in_a_line_with_what_brings_it(
    page_check, monkeypatch, capsys, tmp_path, missing, told
):
    page = tmp_path / "page.html"
    page.touch()
    monkeypatch.setattr(page_check.importlib.util, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(SystemExit) as ended:
        page_check.parse([str(page), "--out", str(tmp_path)])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith(told)
    assert "peer_env.py page-check" in said
    assert said.count("\n") == 1


GOOD = (
    '<!doctype html><html lang="en"><head><title>t</title></head>'
    "<body><main><h1>Page</h1><p>Text.</p></main></body></html>"
)
BAD = GOOD.replace(
    "<p>Text.</p>",
    '<p style="width: 2000px; color: #ddd">Pale</p><img src="beside.png"><details><summary>More</summary><p>folded</p>'
    '</details><div style="width: 50px; overflow: auto"><p style="width: 400px; font-size: 3px">Tiny</p></div>'
    "<script>throw new Error('broken')</script>",
)


@pytest.fixture(scope="module")
def browser():
    """Words of the command line for a browser and axe-core that are there."""
    pytest.importorskip("playwright", reason="needs Playwright: benchmarks/peer_env.py page-check")
    pytest.importorskip("axe_playwright_python", reason="needs axe-core: benchmarks/peer_env.py page-check")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path).is_file()
    there = shutil.which("chromium") or shutil.which("google-chrome")
    if not own and there is None:
        pytest.skip("needs a Chromium: python -m playwright install chromium")
    return [] if own else ["--chromium", there]


@pytest.mark.slow
def test_a_browser_finds_what_is_wrong_and_nothing_where_all_is_well(page_check, browser, tmp_path, capsys):
    for name, text in (("good", GOOD), ("bad", BAD)):
        (tmp_path / f"{name}.html").write_text(text)
    assert page_check.main([str(tmp_path / "good.html"), "--out", str(tmp_path / "good"), *browser]) == 0
    assert len(list((tmp_path / "good").glob("*.png"))) == len(page_check.VIEWS)
    assert len(list((tmp_path / "good").glob("*.pdf"))) == 2
    assert capsys.readouterr().out.endswith("Nothing serious.\n")
    assert page_check.main([str(tmp_path / "bad.html"), "--out", str(tmp_path / "bad"), *browser]) == 1
    said = capsys.readouterr().out
    for part in ("broken", "beside.png", "px wider", "image-alt", "color-contrast", "letters of 3.0 px", "folded away"):
        assert part in said
    assert "hides a part" in said
