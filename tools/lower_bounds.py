"""Print the declared lower bound of every dependency as a pip constraint: `numpy==1.26.0`, one per line.

Runs in an environment where ppcls_compress is installed; setup.py stays the only place where bounds are written.
"""

import re
import sys
from importlib.metadata import requires


def lower_bounds(requirements: list[str]) -> list[str]:
    """`name==bound` for each `name>=bound` of the package itself and of its test extra, sorted.

    Example:
        >>> lower_bounds(["numpy>=1.26.0", 'ruff<0.18,>=0.17.6; extra == "test"', 'onnx>=1.18; extra == "onnx"'])
        ['numpy==1.26.0', 'ruff==0.17.6']
    """
    wanted = [text for text in requirements if "extra ==" not in text or re.search(r"extra == .test.", text)]
    found = [re.match(r"([\w.-]+)[^;]*>=([\w.]+)", text) for text in wanted]
    return sorted(f"{match[1]}=={match[2]}" for match in found if match)


if __name__ == "__main__":
    sys.stdout.write("\n".join(lower_bounds(requires("ppcls_compress"))) + "\n")
