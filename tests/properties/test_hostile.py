"""Whatever a configuration, an override, a list, a record or a sensitivity file says: taken, or refused in a line.

Longer runs, of state files and images too, are `benchmarks/faults/fuzz.py`. What was found once is an example here.
"""

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from support.project import config as project
from support.project import make_project

from ppcls_compress import io
from ppcls_compress.config.inert import inert_keys
from ppcls_compress.config.load import load_config, validate
from ppcls_compress.config.paths import check_weights
from ppcls_compress.data.labels import read_class_names, read_labelled_images
from ppcls_compress.data.places import Places
from ppcls_compress.errors import UserError
from ppcls_compress.slim import recipe
from ppcls_compress.slim import record as records
from ppcls_compress.slim.options import PruneOptions, QuantOptions, SlimOptions
from ppcls_compress.slim.prune.sensitivity import Status

BRIEF = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
NUMBERS = st.one_of(
    st.sampled_from([0, -1, 1, 3, 2**31, 2**63, 10**400, 0.0, 1e-320, 1e308, float("inf"), float("nan")]),
    st.integers(),
    st.floats(),
)
TEXTS = st.one_of(
    st.sampled_from(
        ["", "0", "1e-8", "1.0/0.0", "nan", "null", "../x", "/dev/zero", "\0", "a" * 3000, "$X", "L1", "Cosine"]
    ),
    st.text(max_size=20),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


def places(node, path=()):
    """The paths of everything in nested dictionaries and lists."""
    yield path
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in entries:
        yield from places(value, (*path, key))


def replaced(node, path, value):
    """A copy in which another value is at a path."""
    if not path:
        return value
    found = copy.copy(node)
    found[path[0]] = replaced(node[path[0]], path[1:], value)
    return found


def taken(read):
    """What `read` gives, or None where it refuses in one line for each problem, none of them long."""
    said = "one line"
    try:
        return read()
    except UserError as error:
        said = str(error)
    assert all(line.strip() and len(line) < 1500 for line in said.split("\n"))
    assert "Traceback" not in said
    return None


CONFIG = project(Path("/somewhere")) | {
    "EMA": {"decay": 0.9},
    "AMP": {"use_amp": False, "level": "O1"},
    "Slim": {"prune": {"name": "fpgm", "pruned_ratio": 0.3}, "quant": {"name": "pact"}},
}
CONFIG["Global"]["seed"] = 1
KEYS = list(places(CONFIG))[1:]


def use(config):
    list(inert_keys(config))
    taken(lambda: check_weights(config))
    for options in config.Optimizer or ():
        rate = options.lr.rate(epochs=config.Global.epochs, steps_per_epoch=7)
        assert all(isinstance(rate(step), float | int) for step in (0, 1, 7 * config.Global.epochs))


@BRIEF
@given(path=st.sampled_from(KEYS), value=VALUES)
@example(("Optimizer", "lr"), {"name": "Step", "learning_rate": 0.1, "step_size": 1, "gamma": 1e300})
@example(
    ("Optimizer", "lr"), {"name": "Cyclic", "base_learning_rate": 1, "max_learning_rate": 2, "step_size_up": 1e-300}
)
@example(("Optimizer", "lr", "name"), ["Cosine"])
@example(("Arch", "name"), {"name": {}})
@example(("Infer", "transforms"), "1" * 500)
@example(("Global",), {"eval_mode": ["retrieval"]})
@example(("Global",), {"pretrained_model": "a" * 5000})
@example(("Slim", "prune", "pruned_ratio"), {"*": True})
def test_configurations(path, value):
    check_configuration(path, value)


def check_configuration(path, value):
    config = taken(lambda: validate(replaced(CONFIG, path, value), source="test"))
    if config is not None:
        use(config)


def test_a_number_that_python_does_not_write_is_refused():
    check_configuration(("Global", "seed"), 10**5000)  # nor do earlier releases of hypothesis, to name an example


@BRIEF
@given(path=st.sampled_from(KEYS), extra=TEXTS, value=st.one_of(VALUES.map(repr), TEXTS))
@example(("Global", "epochs"), "", "[" * 3000)
@example(("Global", "epochs"), "", "&a [*a]")
@example(("Global", "epochs"), "9" * 50, "1")
@example(("DataLoader", "Train", "dataset", "transform_ops", 0), "-1", "x")
def test_overrides(tmp_path_factory, path, extra, value):
    file = tmp_path_factory.getbasetemp() / "overridden.yaml"
    if not file.exists():
        file.write_text(yaml.safe_dump(CONFIG))
    key = ".".join(str(part) for part in path) + (f".{extra}" if extra else "")
    config = taken(lambda: load_config(file, [f"{key}={value}"]))
    if config is not None:
        use(config)


WORDS = st.sampled_from(
    ["0.png 0", "1.png 2", "0.png\t1", "../x.png 0", "/etc/passwd 1", "out/passwd 0", "0.png -1", "0.png 3",
     "0.png 9" * 9, "0.png 1.5", "0.png",
     " 0", "0.png ²", "\ufeff0.png 1", "\0 0", "", "a" * 999 + " 1", "0 x", "1 y", "2 z"]
)  # fmt: skip


@BRIEF
@given(lines=st.lists(st.one_of(WORDS, st.text(max_size=12)), max_size=6), relabel=st.booleans())
def test_lists(tmp_path_factory, lines, relabel):
    folder = tmp_path_factory.getbasetemp() / "lists"
    if not folder.exists():
        (folder / "images").mkdir(parents=True)
        for name in ("0.png", "1.png"):
            (folder / "images" / name).touch()
        (folder / "images" / "out").symlink_to("/etc")
    file = folder / "list.txt"
    file.write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")
    taken(lambda: read_class_names(file, 3))
    found = taken(
        lambda: read_labelled_images(
            places=Places(folder / "images", allow_outside=False),
            label_file=file,
            class_num=3,
            delimiter=None,
            relabel=relabel,
            missing_allowed=0,
            where="DataLoader.Train.dataset",
        )
    )
    if found is not None:
        assert {path.rsplit("/", 1)[1] for path in found.paths} <= {"0.png", "1.png"}
        assert all(0 <= label < 3 for label in found.labels)


def network():
    paddle.seed(0)
    return paddle.nn.Sequential(
        paddle.nn.Conv2D(3, 8, 3), paddle.nn.BatchNorm2D(8), paddle.nn.ReLU(), paddle.nn.Conv2D(8, 8, 3),
        paddle.nn.Flatten(), paddle.nn.Linear(128, 3),
    )  # fmt: skip


@pytest.fixture(scope="module")
def record():
    options = SlimOptions(prune=PruneOptions(pruned_ratio=0.5, align=1), quant=QuantOptions())
    context = recipe.Context(batches=lambda: [paddle.ones([2, 3, 8, 8])])
    return json.loads(json.dumps(recipe.compress(network(), options, [[1, 3, 8, 8]], context=context)[1]))


@BRIEF
@given(data=st.data())
def test_records(record, data):
    path = data.draw(st.sampled_from(list(places(record))))
    changed = replaced(record, path, data.draw(VALUES))
    assume(_is_json(changed))
    checked = taken(lambda: records.check(changed, "x.slim.json"))
    if checked is not None:
        taken(lambda: recipe.rebuild(network(), checked))


def _is_json(value):
    try:
        json.dumps(value)
    except ValueError:
        return False
    return True


STUDY = {
    "sensitivities": {"conv.w_0": {"0.1": 0.0, "0.2": 0.5}},
    "complete": True,
    "source": {"criterion": "fpgm", "base": 0.5},
}


@BRIEF
@given(path=st.sampled_from(list(places(STUDY))), value=VALUES)
@example(("source", "criterion"), {})
@example(("source", "criterion"), ["fpgm"])
@example(("sensitivities", "conv.w_0", "0.1"), 10**400)
@example(("sensitivities", "conv.w_0", "0.1"), "a" * 3000)
def test_sensitivity_files(tmp_path_factory, path, value):
    file = tmp_path_factory.getbasetemp() / "study.json"
    changed = replaced(STUDY, path, value)
    assume(_is_json(changed))
    file.write_text(json.dumps(changed))
    found = taken(lambda: Status(file))
    if found is not None:
        taken(lambda: found.check({"criterion": "fpgm"}, file))


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    path = tmp_path_factory.mktemp("state") / "a.pdstates"
    io.write_state(path, {"w": np.arange(6, dtype="float32").reshape(2, 3), "n": 3, "t": ("x", [1.5, None])})
    return path, path.read_bytes(), pickle.dumps(io.read_state(path))


@settings(BRIEF, max_examples=300)
@given(data=st.data())
def test_altered_state_files(state, data):
    path, whole, expected = state
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed) - 1))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert", "byte"]))
        if kind == "flip":
            changed[at] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "byte":
            changed[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del changed[at : at + data.draw(st.integers(1, 9))]
        else:
            changed[at:at] = data.draw(st.binary(min_size=1, max_size=9))
    other = path.with_name("b.pdstates")
    other.write_bytes(changed)
    found = taken(lambda: io.read_state(other, ours=True))
    assert found is None or pickle.dumps(found) == expected


@pytest.mark.parametrize(
    "losses", [3, "x", [3], [{"ArcMargin": 3}], [{"CELoss": {"class_num": "x", "num_classes": 3}}]]
)
def test_losses_of_a_recognition_model(losses):
    data = CONFIG | {"Arch": {"name": "RecModel"}, "Loss": {"Train": losses}}
    assert taken(lambda: validate(data, source="test")) is None


def test_a_project_is_what_is_mutated(tmp_path):
    """So that the tests above do not mutate what is refused anyway."""
    config = make_project(tmp_path)
    assert taken(lambda: load_config(config)) is not None
    assert taken(lambda: validate(CONFIG, source="test")) is not None
