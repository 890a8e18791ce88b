"""The colours of the page and its pictures, by what they are for."""

LIGHT = {
    "ink": "#1d2733",
    "soft": "#56646f",
    "line": "#d5dce4",
    "paper": "#ffffff",
    "card": "#f5f7fa",
    "strong": "#1f6feb",
    "good": "#1a7f37",
    "bad": "#b81f55",
    "s0": "#57606a",
    "s1": "#1f6feb",
    "s2": "#bc4c00",
    "s3": "#1a7f37",
    "s4": "#8250df",
    "s5": "#b81f55",
}
DARK = {
    "ink": "#e6edf3",
    "soft": "#a3b0bc",
    "line": "#30363d",
    "paper": "#0d1117",
    "card": "#161b22",
    "strong": "#58a6ff",
    "good": "#56d364",
    "bad": "#ff7b9c",
    "s0": "#9aa7b4",
    "s1": "#58a6ff",
    "s2": "#f0883e",
    "s3": "#56d364",
    "s4": "#bc8cff",
    "s5": "#ff7b9c",
}
SERIES = ("s0", "s1", "s2", "s3", "s4", "s5")
"""Of networks side by side, the first of them in grey."""


def series(index: int) -> str:
    """The name of the colour of a network by its place; after six they come again."""
    return SERIES[index % len(SERIES)]


def variables(colours: dict[str, str]) -> str:
    """As custom properties of CSS."""
    return "".join(f"--{name}: {value}; " for name, value in colours.items())
