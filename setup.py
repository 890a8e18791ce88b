"""Packaging of ppcls_compress: what it needs, with the lower bounds that the continuous integration runs on."""

import re
from pathlib import Path

from setuptools import find_packages, setup

# Each lower bound is exercised: `.ci/run` installs exactly these versions and runs the fast tests on them.
CORE = [
    "paddlepaddle>=3.0.0",
    "numpy>=1.26.0",
    "pydantic>=2.7.0",
    "rich>=13.0.0",
    "PyYAML>=6.0.1",
    "opencv-python-headless>=4.11.0.86",
    "pillow>=10.1.0",
    "matplotlib>=3.8.0",
    "safetensors>=0.4.3",
]
# paddle2onnx 2.1.0 has no wheel for Python 3.13. There p2o converts, which elsewhere steps in where paddle2onnx fails.
# It is one program that depends on nothing; later versions rewrite graphs.
TO_ONNX = [
    'paddle2onnx>=2.1.0; python_version < "3.13"',
    "p2o==0.1.2",
    "onnx>=1.17.0",
    "onnx-ir>=0.1.14",
    "onnxscript>=0.5.0",
    "protobuf>=3.20.2",
]
ONNX = [*TO_ONNX, "onnxruntime>=1.22.0"]
# OpenVINO 2025.0 and the libopenvino inside the paddlepaddle wheel share a library name: only one of them loads.
OPENVINO = [*TO_ONNX, "openvino>=2025.1.0"]
VISUALDL = ["visualdl>=2.5.3"]
TENSORBOARD = ["tensorboardX>=2.6.2.2"]  # writes what `tensorboard` shows, without TensorFlow
DOCS = ["mkdocs-material>=9.8.2", "mkdocstrings[python]>=1.0.8"]  # `mkdocs build`
SEARCH = ["optuna>=4.5.0"]
TEST = [
    "pytest>=8.0.0",
    "pytest-xdist>=3.5.0",
    "scikit-learn>=1.3.2",
    "hypothesis>=6.100.0",
    "import-linter>=2.6",
    "ruff>=0.17.6,<0.18",  # another minor version formats differently
]
# PaddleSlim 2.6.0 declares neither six, requests nor decorator, calls what NumPy 2 removed, and needs pkg_resources,
# which newer setuptools no longer carry. Not in `all`, because it pins old packages itself.
PADDLESLIM = ["paddleslim==2.6.0", "six", "requests", "decorator", "numpy<2", "setuptools<81"]


def version() -> str:
    """The version written in the package, read without importing it."""
    text = (Path(__file__).parent / "ppcls_compress" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)[1]


setup(
    name="ppcls_compress",
    version=version(),
    description="Compress PaddlePaddle image classifiers: FPGM pruning, PACT quantization, verified export",
    license="Apache-2.0",
    python_requires=">=3.11",
    classifiers=[f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)],
    packages=find_packages(include=["ppcls_compress", "ppcls_compress.*"]),
    package_data={
        "ppcls_compress": [
            "py.typed",
            "config/starters/*.yaml",
            "report/page/*.css",
            "postprocess/label_lists/*.txt",
            "postprocess/label_lists/*/*.txt",
        ]
    },
    install_requires=CORE,
    extras_require={
        "onnx": ONNX,
        "openvino": OPENVINO,
        "visualdl": VISUALDL,
        "tensorboard": TENSORBOARD,
        "docs": DOCS,
        "search": SEARCH,
        "test": TEST,
        "all": sorted({*ONNX, *OPENVINO, *VISUALDL, *TENSORBOARD, *SEARCH, *DOCS, *TEST}),
        "paddleslim": PADDLESLIM,
    },
    entry_points={"console_scripts": ["ppcls-compress = ppcls_compress.cli:main"]},
)
