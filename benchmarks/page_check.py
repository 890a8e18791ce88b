"""Open pages of `ppcls-compress report` in a headless Chromium and look for what a reader would stumble over.

    python benchmarks/peer_env.py page-check DIR          Playwright and axe-core, in an environment of their own
    DIR/bin/python -m playwright install chromium         a browser, where --chromium names none
    DIR/bin/python benchmarks/page_check.py report.html [...] --out SHOTS [--chromium /usr/bin/chromium]

Each page is opened 390, 900 and 1400 px wide, light and dark, and as it is printed on A4, by a desktop of either kind.
Serious, with exit code 1: an error on the console, a request for anything but the page, a body wider than the screen, a
violation that axe-core calls serious or critical, texts too small to be read, a page of 5 MB; and in print, what the
paper cuts off or leaves folded away. Needs nothing of the package.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

WIDTHS = (390, 900, 1400)
SCHEMES = ("light", "dark")
PAPER = (718, 1047)
"""Pixels across and down that an A4 page has between margins of 10 mm."""
SERIOUS = ("serious", "critical")
IMPACTS = ("critical", "serious", "moderate", "minor")
MOST_BYTES = 5_000_000
SMALLEST = {"screen": 7.5, "print": 6.0}
"""Pixels of the smallest letters that can be read: on a screen, which can be enlarged, and on paper."""
_INSTALL = "`python benchmarks/peer_env.py page-check DIR` brings it; then run this with DIR/bin/python"


@dataclass(frozen=True)
class View:
    """How a page is looked at: its width in pixels, `light` or `dark`, and `screen` or `print`."""

    width: int
    scheme: str
    media: str = "screen"

    def __str__(self) -> str:
        where = "print" if self.media == "print" else str(self.width)
        return f"{where} {self.scheme}"


VIEWS = (
    *(View(width, scheme) for width in WIDTHS for scheme in SCHEMES),
    *(View(PAPER[0], scheme, "print") for scheme in SCHEMES),
)


@dataclass(frozen=True)
class Found:
    """What a view of a page has shown.

    Attributes:
        console: errors, on the console or thrown.
        requests: addresses that were asked for beside the page's own.
        overflow: pixels that the body is wider than the view.
        violations: (impact, rule, how many elements) of axe-core.
        sideways: how many areas are moved sideways, as there is more in them than they are wide.
        cut: what a paper does not show: parts that end beyond it or in an area that would be moved, folded texts.
        smallest: pixels of the smallest letters, as they are drawn.
    """

    console: Sequence[str] = ()
    requests: Sequence[str] = ()
    overflow: int = 0
    violations: Sequence[tuple[str, str, int]] = ()
    sideways: int = 0
    cut: Sequence[str] = ()
    smallest: float = 16.0


def faults(view: View, found: Found) -> list[str]:
    """What is serious about a view, a line each."""
    lines = [f"console: {line}" for line in found.console]
    lines += [f"asks for {address}" for address in dict.fromkeys(found.requests)]
    if found.overflow > 0:
        lines.append(f"the body is {found.overflow} px wider than the page")
    lines += [f"axe: {rule} ({impact}, {count}x)" for impact, rule, count in found.violations if impact in SERIOUS]
    if found.smallest < SMALLEST[view.media]:
        lines.append(f"letters of {found.smallest:.1f} px, less than {SMALLEST[view.media]:g}")
    if view.media == "print":
        lines += [f"cut off in print: {what}" for what in found.cut]
    return lines


def too_heavy(size: int) -> list[str]:
    """The fault of a page of so many bytes, if that is one."""
    return [f"{size / 1e6:.1f} MB, not under {MOST_BYTES / 1e6:g} MB"] if size >= MOST_BYTES else []


def by_impact(violations: Sequence[tuple[str, str, int]]) -> str:
    """How many rules are violated, `1 serious, 2 minor`; `0` for none."""
    counts = Counter(impact for impact, _, _ in violations)
    return ", ".join(f"{counts[impact]} {impact}" for impact in IMPACTS if counts[impact]) or "0"


def leaves(address: str, page: str) -> bool:
    """Whether a request is for anything but the page and what it holds itself."""
    return address.split("#")[0] != page and not address.startswith(("data:", "blob:", "about:"))


HEAD = ("page", "MB", "view", "console", "requests", "wider", "axe", "sideways", "smallest", "")


def row(name: str, size: int, view: View, found: Found, wrong: Sequence[str]) -> tuple[str, ...]:
    """A view as cells below `HEAD`."""
    return (
        name,
        f"{size / 1e6:.2f}",
        str(view),
        str(len(found.console)),
        str(len(found.requests)),
        f"{found.overflow} px",
        by_impact(found.violations),
        str(found.sideways),
        f"{found.smallest:.1f} px",
        f"{len(wrong)} SERIOUS" if wrong else "ok",
    )


def lined_up(rows: Sequence[Sequence[str]]) -> str:
    """Rows of a Markdown table, the first of them its head."""
    widths = [max(len(cells[i]) for cells in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |" for cells in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]) + "\n"


# A part is cut off if it ends beyond the paper, or in an area that hides the rest of it or would be scrolled.
_MEASURE = """(high) => {
  const root = document.documentElement, wide = root.clientWidth, cut = [];
  const shown = element => element.checkVisibility({contentVisibilityAuto: true, visibilityProperty: true});
  const kind = element => (element.className.baseVal ?? element.className ?? '').replace(/^(?=.)|\\s+/g, '.');
  const told = element => element.tagName.toLowerCase() + kind(element) + ' "' +
    (element.ariaLabel || element.textContent).trim().slice(0, 50) + '"';
  let sideways = 0, smallest = Infinity;
  for (const element of document.querySelectorAll('body, body *:not(svg *)')) {
    if (!shown(element)) continue;
    const style = getComputedStyle(element), box = element.getBoundingClientRect();
    const hides = style.overflowX !== 'visible' || style.overflowY !== 'visible';
    const across = element.scrollWidth > element.clientWidth + 1;
    const down = element.scrollHeight > element.clientHeight + 1;
    if (style.overflowX !== 'visible' && across) sideways++;
    if (hides && (across || down)) cut.push(told(element) + ' hides a part');
    else if (box.width && box.right > wide + 1) cut.push(told(element) + ' ends beyond the paper');
  }
  for (const svg of document.querySelectorAll('svg'))
    if (shown(svg) && svg.getBoundingClientRect().height > high) cut.push(told(svg) + ' is taller than the paper');
  for (const details of document.querySelectorAll('details:not([open])'))
    if ([...details.children].some(child => child.tagName !== 'SUMMARY' && !shown(child)))
      cut.push(told(details.querySelector('summary')) + ' is folded away');
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; node = texts.nextNode();) {
    const element = node.parentElement;
    if (!node.data.trim() || element.tagName === 'title' || !shown(element)) continue;
    const scale = element.ownerSVGElement ? Math.hypot(element.getScreenCTM().a, element.getScreenCTM().b) : 1;
    smallest = Math.min(smallest, scale * parseFloat(getComputedStyle(element).fontSize));
  }
  return {overflow: Math.max(root.scrollWidth, document.body.scrollWidth) - wide, sideways, cut,
    smallest: Number.isFinite(smallest) ? smallest : 16};
}"""
_AXE = """async () => (await axe.run(document, {resultTypes: ['violations']})).violations
  .map(rule => [rule.impact, rule.id, rule.nodes.length])"""


def look(browser, file: Path, view: View, axe: str, shot: Path) -> Found:
    """Open a page as it is seen in one way and keep a picture, with a PDF of what is printed."""
    context = browser.new_context(viewport={"width": view.width, "height": 900}, color_scheme=view.scheme)
    try:
        page, address = context.new_page(), file.resolve().as_uri()
        console: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: message.type == "error" and console.append(message.text))
        page.on("pageerror", lambda error: console.append(str(error)))
        page.on("request", lambda request: leaves(request.url, address) and asked.append(request.url))
        page.emulate_media(media=view.media, color_scheme=view.scheme)
        page.goto(address, wait_until="load")
        measured = page.evaluate(_MEASURE, PAPER[1])
        page.screenshot(path=str(shot.with_suffix(".png")), full_page=True)
        if view.media == "print":
            edge = dict.fromkeys(("top", "right", "bottom", "left"), "10mm")
            page.pdf(path=str(shot.with_suffix(".pdf")), format="A4", margin=edge, print_background=False)
        page.evaluate(axe)
        violations = [(impact or "minor", rule, count) for impact, rule, count in page.evaluate(_AXE)]
    finally:
        context.close()
    return Found(
        console, asked, measured["overflow"], violations, measured["sideways"], measured["cut"], measured["smallest"]
    )


def check(
    pages: Sequence[Path], axe: str, out: Path, launch: Mapping[str, str]
) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Look at every page in every view; a row for each with what is serious about it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**launch)
        try:
            for name, file in zip(short_names(pages), pages, strict=True):
                size = file.stat().st_size
                for view in VIEWS:
                    shot = out / f"{name.replace('/', '_')}_{str(view).replace(' ', '_')}.x"
                    found = look(browser, file, view, axe, shot)
                    wrong = [*faults(view, found), *too_heavy(size)]
                    yield row(name, size, view, found, wrong), [f"{name}, {view}: {line}" for line in wrong]
        finally:
            browser.close()


def short_names(pages: Sequence[Path]) -> list[str]:
    """Names of files, with as many of their folders as tell them apart."""
    parts = [file.resolve().with_suffix("").parts for file in pages]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(set(parts)):
            break
    return names


def axe_file(given: Path | None) -> Path | None:
    """The script of axe-core: the one given, or the one that the environment has; None where it has none."""
    if given is not None:
        return given
    package = importlib.util.find_spec("axe_playwright_python")
    return None if package is None else Path(package.origin).parent / "axe.min.js"


def parse(words: Sequence[str] | None = None) -> tuple[argparse.Namespace, str]:
    """The command line, and the text of axe-core; ends with one line where something is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+", type=Path, metavar="PAGE.html")
    parser.add_argument("--out", type=Path, required=True, help="folder for screenshots and PDFs")
    parser.add_argument("--axe", type=Path, help="axe.min.js (default: the environment's)")
    parser.add_argument("--chromium", type=Path, help="a browser's executable (default: Playwright's own)")
    parser.add_argument("--browsers", type=Path, help="folder that Playwright has its browsers in")
    given = parser.parse_args(words)
    if importlib.util.find_spec("playwright") is None:
        parser.exit(2, f"Playwright is not in this environment: {_INSTALL}\n")
    axe = axe_file(given.axe)
    if axe is None:
        parser.exit(2, f"axe-core is not in this environment: --axe FILE names an axe.min.js, or {_INSTALL}\n")
    for file in (*given.pages, axe, *([given.chromium] if given.chromium else [])):
        if not file.is_file():
            parser.exit(2, f"{file}: no such file\n")
    text = axe.read_text(encoding="utf-8")
    if "axe.run" not in text:
        parser.exit(2, f"{axe} is not axe-core: it has no axe.run\n")
    return given, text


def main(words: Sequence[str] | None = None) -> int:
    """Print one table, then what is serious; 1 if anything is."""
    given, axe = parse(words)
    if given.browsers is not None:
        os.environ["PLAYWRIGHT_BROWSERS_PATH"] = str(given.browsers.resolve())
    from playwright.sync_api import Error

    given.out.mkdir(parents=True, exist_ok=True)
    launch = {} if given.chromium is None else {"executable_path": str(given.chromium)}
    rows, wrong = [HEAD], []
    try:
        for cells, lines in check(given.pages, axe, given.out, launch):
            rows.append(cells)
            wrong += lines
            sys.stderr.write(f"{cells[0]}, {cells[2]}: {cells[-1]}\n")
    except Error as error:
        if "Executable doesn't exist" not in str(error):
            raise
        sys.stderr.write(
            f"Playwright has no Chromium: `{sys.executable} -m playwright install chromium` brings one, "
            "or --chromium FILE names one\n"
        )
        return 2
    sys.stdout.write(lined_up(rows))
    sys.stdout.write("".join(f"{line}\n" for line in dict.fromkeys(wrong)) or "Nothing serious.\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
