"""What setup.py declares is what the package imports, and the bounds are written once."""

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import setuptools

import ppcls_compress

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ppcls_compress"
ONNX = PACKAGE / "deploy" / "onnx"
IMPORTED = PACKAGE / "deploy" / "imported"
ROOMS = (ONNX, IMPORTED)
DOORS = {
    *(ONNX / f"{name}.py" for name in ("__init__", "export", "files", "formats", "quiet", "runtime")),
    *(IMPORTED / f"{name}.py" for name in ("__init__", "source")),
}
"""The files of these rooms that are loaded without the extras; the others need those at once."""
DISTRIBUTION = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "google": "protobuf",
    "onnx_ir": "onnx-ir",
    "paddle": "paddlepaddle",
    "pydantic_core": "pydantic",
    "sklearn": "scikit-learn",
    "sqlalchemy": "optuna",
    "yaml": "pyyaml",
}


@pytest.fixture
def declared(monkeypatch):
    captured = {}
    monkeypatch.setattr(setuptools, "setup", lambda **options: captured.update(options))
    runpy.run_path(str(ROOT / "setup.py"))
    return captured


def _names(requirements):
    return {re.match(r"[\w.-]+", text)[0].lower() for text in requirements}


def _imports(path, *, lazy):
    """Distributions imported by a file: at its top, or inside its functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for statement in tree.body for node in _outside_functions(statement)}
    found = set()
    for node in ast.walk(tree):
        if (id(node) not in top) != lazy:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.partition(".")[0])
    third_party = found - set(sys.stdlib_module_names) - {"ppcls_compress", "support"}
    return {DISTRIBUTION.get(name, name).lower() for name in third_party}


def _outside_functions(node):
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _outside_functions(child)


def test_extras(declared):
    extras = declared["extras_require"]
    assert set(extras) == {"onnx", "openvino", "visualdl", "tensorboard", "search", "docs", "test", "all", "paddleslim"}
    parts = ("onnx", "openvino", "visualdl", "tensorboard", "search", "docs", "test")
    assert set(extras["all"]) == {line for part in parts for line in extras[part]}
    assert {"six", "requests", "decorator", "numpy<2"} < set(extras["paddleslim"])


def test_one_version_number(declared):
    assert declared["version"] == ppcls_compress.__version__
    heading = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert heading[1] == ppcls_compress.__version__


def test_every_package_is_installed(declared):
    folders = {str(path.parent.relative_to(ROOT)).replace("/", ".") for path in PACKAGE.rglob("*.py")}
    assert set(declared["packages"]) == folders


def test_console_command_exists(declared):
    (entry,) = declared["entry_points"]["console_scripts"]
    command, _, target = entry.partition(" = ")
    assert command == "ppcls-compress"
    module, _, function = target.partition(":")
    assert callable(getattr(__import__(module, fromlist=[function]), function))


def test_imports_are_declared(declared):
    core = _names(declared["install_requires"])
    extras = _names(text for extra in declared["extras_require"].values() for text in extra)
    for path in PACKAGE.rglob("*.py"):
        behind = any(map(path.is_relative_to, ROOMS)) and path not in DOORS
        assert _imports(path, lazy=False) <= core | (_to_onnx(declared) if behind else set()), path
        assert _imports(path, lazy=True) <= core | extras, path


def test_what_needs_the_onnx_extras_is_loaded_behind_a_check_of_them():
    files = {path for room in ROOMS for path in room.iterdir() if path.name != "__pycache__"} - DOORS
    behind = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files}
    for path in PACKAGE.rglob("*.py"):
        if any(map(path.is_relative_to, ROOMS)) and path not in DOORS:
            continue
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            loaded = _modules(statement)
            assert not {name for name in loaded for other in behind if f"{name}.".startswith(f"{other}.")}, path


def test_test_imports_are_declared(declared):
    allowed = _names(declared["install_requires"]) | _names(declared["extras_require"]["test"]) | {"setuptools"}
    for path in (ROOT / "tests").rglob("*.py"):
        assert _imports(path, lazy=False) <= allowed | _skipped_without(path, declared), path


def _to_onnx(declared):
    """What both of the extras bring that convert."""
    return _names(declared["extras_require"]["onnx"]) & _names(declared["extras_require"]["openvino"])


def _skipped_without(path, declared):
    """What a test file skips itself without; onnxscript stands for all that comes with it."""
    text = path.read_text(encoding="utf-8")
    names = set(re.findall(r"^pytest\.importorskip\(\"(\w+)\"", text, re.MULTILINE))
    return names | (_to_onnx(declared) if "onnxscript" in names else set())


def _modules(statement):
    """Modules that a statement at the top of a file loads, and what it takes from them."""
    if isinstance(statement, ast.Import):
        return {alias.name for alias in statement.names}
    if isinstance(statement, ast.ImportFrom):
        return {f"{statement.module}.{alias.name}" for alias in statement.names}
    return set()


def test_nothing_declared_in_vain(declared):
    imported = set().union(*(_imports(path, lazy=lazy) for path in PACKAGE.rglob("*.py") for lazy in (False, True)))
    assert _names(declared["install_requires"]) <= imported


def test_lower_bounds(declared):
    lower_bounds = runpy.run_path(str(ROOT / "tools" / "lower_bounds.py"))["lower_bounds"]
    wanted = [
        *declared["install_requires"],
        *(f'{text}; extra == "test"' for text in declared["extras_require"]["test"]),
    ]
    others = [f'{text}; extra == "paddleslim"' for text in declared["extras_require"]["paddleslim"]]
    bounds = lower_bounds(wanted + others)
    assert {bound.partition("==")[0].lower() for bound in bounds} == _names(wanted)
    assert "numpy==1.26.0" in bounds
    onnx = [f'{text}; extra == "onnx"' for text in declared["extras_require"]["onnx"]]
    added = set(lower_bounds(wanted + onnx + others, ["test", "onnx"])) - set(bounds)
    assert {bound.partition("==")[0] for bound in added} == {
        "paddle2onnx",
        "onnx",
        "onnx-ir",
        "onnxruntime",
        "onnxscript",
        "p2o",
        "protobuf",
    }


@pytest.mark.parametrize("script", ["tools/venv.sh", "tools/test.sh", "tools/demo.sh", ".ci/run"])
def test_shell_scripts_parse(script):
    subprocess.run(["bash", "-n", str(ROOT / script)], check=True)
