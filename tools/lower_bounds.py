"""Print the declared lower bound of every dependency as a pip constraint: `numpy==1.26.0`, one per line.

`python tools/lower_bounds.py test,onnx` adds those of these extras. Runs in an environment where ppcls_compress is
installed; setup.py stays the only place where bounds are written.
"""

import re
import sys
from collections.abc import Collection
from importlib.metadata import requires


def lower_bounds(requirements: list[str], extras: Collection[str] = ("test",)) -> list[str]:
    """`name==bound` for each `name>=bound` or `name==bound` of the package itself and of some of its extras, sorted.

    Example:
        >>> lower_bounds(["numpy>=1.26.0", 'ruff<0.18,>=0.17.6; extra == "test"', 'onnx>=1.18; extra == "onnx"'])
        ['numpy==1.26.0', 'ruff==0.17.6']
    """
    extra = {text: re.search(r"extra == .([\w-]+).", text) for text in requirements}
    wanted = [text for text, found in extra.items() if found is None or found[1] in extras]
    found = [re.match(r"([\w.-]+)[^;]*[>=]=([\w.]+)", text) for text in wanted]
    return sorted({f"{match[1]}=={match[2]}" for match in found if match})


if __name__ == "__main__":
    chosen = sys.argv[1].split(",") if len(sys.argv) > 1 else ["test"]
    sys.stdout.write("\n".join(lower_bounds(requires("ppcls_compress"), chosen)) + "\n")
