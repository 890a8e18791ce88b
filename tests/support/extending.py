"""What docs/extending.md says, read as a contributor does: sections, the blocks of code in them, and where these go."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
_AT_ITS_END = ", at its end"


@dataclass(frozen=True)
class Block:
    """Code for a file: all of a new one, lines at its end, or a change of a few lines."""

    path: str
    kind: str
    text: str

    def apply(self, root):
        """Put it where it goes, below `root`."""
        file = root / self.path
        if self.kind == "new":
            assert not file.exists(), f"{self.path} is there already"
            file.parent.mkdir(exist_ok=True)
            file.write_text(self.text)
        elif self.kind == "end":
            file.write_text(f"{file.read_text()}\n\n{self.text}")
        else:
            file.write_text(self._changed(file.read_text()))

    def _changed(self, whole):
        lines = self.text.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] != "+")
        after = "".join(line[1:] for line in lines if line[0] != "-")
        assert f"\n{whole}".count(f"\n{before}") == 1, f"{self.path} has not once:\n{before}"
        return f"\n{whole}".replace(f"\n{before}", f"\n{after}")[1:]


@dataclass(frozen=True)
class Section:
    """One thing to add."""

    title: str
    blocks: tuple
    config: dict

    @property
    def places(self):
        """The files that it touches; a new folder is one place."""
        new = {block.path for block in self.blocks if block.kind == "new"}
        folders = {str(Path(path).parent) for path in new if path.endswith("/__init__.py")}
        parents = {block.path: str(Path(block.path).parent) for block in self.blocks}
        return {parent if parent in folders else path for path, parent in parents.items()}


def read():
    """The table, {what: places}, and the sections."""
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    head, *parts = re.split(r"^## ", text, flags=re.MULTILINE)
    table = {what.replace("`", ""): int(count) for what, count in re.findall(r"^\| (an? .+?) \| (\d+) \|", head, re.M)}
    return table, [_section(part) for part in parts]


def _section(part):
    title, _, rest = part.partition("\n")
    blocks, config = [], {}
    for language, body in re.findall(r"^```(\w+)\n(.*?)^```$", rest, re.MULTILINE | re.DOTALL):
        if language == "yaml":
            config = yaml.safe_load(body)
            continue
        first, _, code = body.partition("\n")
        path = first.removeprefix("# ").removesuffix(_AT_ITS_END)
        kind = "change" if language == "diff" else "end" if first.endswith(_AT_ITS_END) else "new"
        blocks.append(Block(path, kind, code))
    return Section(title[0].lower() + title[1:], tuple(blocks), config)


def extended(sections, root):
    """A copy of the package and its tools below `root`, with all that the sections add."""
    for name in ("ppcls_compress", "tools"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".importlinter", "pyproject.toml"):
        shutil.copy(ROOT / name, root / name)
    for section in sections:
        for block in section.blocks:
            block.apply(root)


def merged(first, second):
    """The one dictionary with what the other says on top, section by section; lists and names are replaced."""
    both = {key for key in first.keys() & second.keys() if isinstance(second[key], dict)}
    return first | second | {key: merged(first[key], second[key]) for key in both}
