"""Set a peer up in a virtual environment of its own, so that its pins never meet ours.

    python benchmarks/peer_env.py paddleslim DIR             PaddleSlim 2.6.0 on the PaddlePaddle it was made for
    python benchmarks/peer_env.py paddleslim-paddle3 DIR     the same on PaddlePaddle 3.3.1, for `backend: paddleslim`
    python benchmarks/peer_env.py torch-pruning DIR          Torch-Pruning 1.6.1, and torch for `cifar10_start.py`
    python benchmarks/peer_env.py paddleclas DIR             PaddleClas' engine of 2021, as paddlex 2.1.0 has it
    python benchmarks/peer_env.py nncf DIR                   NNCF 3.4.0, OpenVINO and ONNX Runtime
    python benchmarks/peer_env.py page-check DIR             Playwright 1.65.2 and axe-core, for `page_check.py`

DIR is created (an existing environment is kept and checked) and should lie outside the work tree. Needs Python 3.11.
The last line printed is the interpreter to hand to the other scripts.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# PaddleSlim declares neither six, requests, decorator nor NumPy < 2, all of which it needs; it declares swig, which
# nothing here calls. That is why it is installed without its dependencies, which are spelled out instead.
UNDECLARED = ("numpy<2", "six", "requests", "decorator", "setuptools<80")
DECLARED = ("opencv-python==4.6.0.66", "scikit-learn", "tqdm", "pyzmq", "matplotlib", "pillow", "pyyaml")


@dataclass(frozen=True)
class Recipe:
    """What to install, in order, and the program that proves that it works.

    Attributes:
        packages: installed with their dependencies.
        bare: installed without dependencies.
        check: run by the new interpreter; prints the versions.
        path: folder in site-packages whose packages are to be importable.
    """

    packages: tuple[str, ...]
    bare: tuple[str, ...]
    check: str
    path: str | None = None


# cv2 and sklearn come first: PaddlePaddle 2.6.2 loaded before them segfaults in their OpenMP runtime.
_CHECK_PADDLESLIM = """
import cv2, sklearn, numpy, paddle
from importlib.metadata import version
from paddleslim.dygraph import FPGMFilterPruner
print("paddleslim", version("paddleslim"), "paddle", paddle.__version__, "numpy", numpy.__version__)
"""

_CHECK_TORCH = """
import torch, torch_pruning
from importlib.metadata import version
print("torch-pruning", version("torch-pruning"), "torch", torch.__version__)
"""

# Of PaddleClas itself, the registry has models only, without the engine; paddlex carries all of it.
_CHECK_PADDLECLAS = """
import cv2, sklearn, numpy, paddle
from ppcls.engine.engine import Engine
print("PaddleClas", "paddle", paddle.__version__, "numpy", numpy.__version__)
"""

_CHECK_NNCF = """
import nncf, onnxruntime, openvino
print("nncf", nncf.__version__, "openvino", openvino.__version__, "onnxruntime", onnxruntime.__version__)
"""

# Of the two, it is axe_playwright_python that carries the script of axe-core.
_CHECK_PAGES = """
import axe_playwright_python, playwright
from importlib.metadata import version
print("playwright", version("playwright"), "axe_playwright_python", version("axe_playwright_python"))
"""

RECIPES = {
    "paddleslim": Recipe(("paddlepaddle==2.6.2", *UNDECLARED, *DECLARED), ("paddleslim==2.6.0",), _CHECK_PADDLESLIM),
    "paddleslim-paddle3": Recipe(
        ("paddlepaddle==3.3.1", "rich", "pydantic", "pytest", *UNDECLARED, *DECLARED),
        ("paddleslim==2.6.0",),
        _CHECK_PADDLESLIM,
    ),
    "paddleclas": Recipe(
        ("paddlepaddle==3.3.1", "visualdl==2.5.3", "easydict", "ujson", "prettytable", "scipy", *UNDECLARED, *DECLARED),
        ("paddleslim==2.6.0", "paddlex==2.1.0"),
        _CHECK_PADDLECLAS,
        "PaddleClas",
    ),
    "nncf": Recipe(("nncf==3.4.0", "openvino==2026.4.1", "onnxruntime==1.32.0", "onnx"), (), _CHECK_NNCF),
    "page-check": Recipe(("playwright==1.65.2", "axe-playwright-python==0.1.8"), (), _CHECK_PAGES),
    "torch-pruning": Recipe(("torch==2.13.0", "numpy"), ("torch-pruning==1.6.1",), _CHECK_TORCH),
}


def install(recipe: Recipe, directory: Path) -> Path:
    """Create the environment if it is not there, install, check; return its interpreter.

    Raises:
        subprocess.CalledProcessError: a step failed; its output has been shown.
    """
    python = directory / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *recipe.packages], check=True)
    if recipe.bare:
        subprocess.run([*pip, "--no-deps", *recipe.bare], check=True)
    if recipe.path:
        packages = next((directory / "lib").glob("python*/site-packages"))
        (packages / "peer.pth").write_text(f"{packages / recipe.path}\n")
    subprocess.run([str(python), "-W", "ignore", "-c", recipe.check], check=True)
    return python


class Missing(Exception):
    """What a row needs and was not given."""


class Peers:
    """Interpreters of the peers' environments, set up when they are asked for.

    Args:
        folder: where environments are made; None makes none.
        given: interpreters that are there already, by name.
    """

    def __init__(self, folder: Path | None, given: dict[str, str]) -> None:
        self._folder, self._known = folder, dict(given)

    def __getitem__(self, name: str) -> str:
        """The interpreter of a peer.

        Raises:
            Missing: there is no environment, and no folder to make one in.
        """
        if name not in self._known:
            if self._folder is None:
                raise Missing(f"--peers DIR, or --python {name}=PATH")
            python = self._folder / name / "bin" / "python"
            recipe = RECIPES[name]
            check = [str(python), "-W", "ignore", "-c", recipe.check]
            if not python.exists() or subprocess.run(check, capture_output=True, check=False).returncode:
                sys.stderr.write(f"{name}: setting up {self._folder / name}\n")
                python = install(recipe, self._folder / name)
            self._known[name] = str(python)
        return self._known[name]

    def packages(self, name: str) -> Path:
        """The folder that a peer's packages are in.

        Raises:
            Missing: as above.
        """
        ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
        return Path(subprocess.run([self[name], "-c", ask], capture_output=True, text=True, check=True).stdout.strip())


def main() -> int:
    """Parse the command line and set the environment up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=sorted(RECIPES))
    parser.add_argument("directory", type=Path)
    arguments = parser.parse_args()
    if sys.version_info[:2] != (3, 11):
        parser.error(f"needs Python 3.11, for which the peers' pins have wheels; this is {sys.version.split()[0]}")
    sys.stdout.write(f"{install(RECIPES[arguments.peer], arguments.directory.resolve())}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
