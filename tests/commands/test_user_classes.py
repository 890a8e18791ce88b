"""Classes of the user's own that a configuration names: used from training to export, never imported by a record."""

import json
import sys

import pytest
from support.commands import call, errors
from support.project import make_project

from ppcls_compress import io

MODULE = """
import paddle

class Halve(paddle.nn.Layer):
    def forward(self, x):
        return x * 0.5

class Scale(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.factor = self.create_parameter([1], default_initializer=paddle.nn.initializer.Constant(0.5))

    def forward(self, x):
        return x * self.factor

class Sized(paddle.nn.Layer):
    def __init__(self, size, rate=1):
        super().__init__()

class Plain:
    pass
"""
QUANT = "Slim.quant={name: qat, act_preprocess: users.parts.Scale, weight_preprocess: users.parts.Halve}"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the user's package, a project, and a run with the user's classes."""
    root = tmp_path_factory.mktemp("classes")
    (root / "users").mkdir()
    (root / "users" / "__init__.py").write_text("")
    (root / "users" / "parts.py").write_text(MODULE)
    (root / "users" / "broken.py").write_text("import no_such_package_at_all\n")
    (root / "evil.py").write_text("raise SystemExit('a record had this imported')\n")
    config = make_project(root)
    sys.path.insert(0, str(root))
    yield root, config
    sys.path.remove(str(root))


@pytest.fixture(scope="module")
def weights(trained):
    root, config = trained
    assert call("train", config, QUANT, "Global.epochs=1", f"Global.output_dir={root}/run") == 0
    return root / "run" / "CIFARResNet8" / "latest"


def test_train_eval_export_and_resume(trained, weights, tmp_path):
    _, config = trained
    step = io.read_json(f"{weights}.slim.json")["steps"][0]
    assert step["custom"] == ["act_preprocess", "weight_preprocess"]
    assert step["options"]["act_preprocess"] == "users.parts.Scale"
    assert any(key.endswith("_act_preprocess.factor") for key in io.read_state(f"{weights}.pdparams"))
    start = f"Global.pretrained_model={weights}"
    assert call("eval", config, QUANT, start, arguments=["--json", str(tmp_path / "dense.json")]) == 0
    assert call("export_model", config, QUANT, start, f"Global.save_inference_dir={tmp_path}/inference") == 0
    exported = ["--artifact", f"{tmp_path}/inference", "--json", str(tmp_path / "exported.json")]
    assert call("eval", config, arguments=exported) == 0
    found, expected = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("exported", "dense"))
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-3)
    resume = [f"Global.checkpoints={weights}", "Global.epochs=2", f"Global.output_dir={tmp_path}/resumed"]
    assert call("train", config, QUANT, *resume) == 0


@pytest.mark.parametrize(
    ("quant", "message"),
    [
        (
            "Slim.quant={name: qat, weight_preprocess: users.parts.Halve}",
            "Slim.quant.act_preprocess: the weights were made with users.parts.Scale, the configuration says nothing; "
            "set it to users.parts.Scale, if you trust that code",
        ),
        (
            "Slim.quant={name: qat, weight_preprocess: users.parts.Halve, act_preprocess: users.parts.Halve}",
            "Slim.quant.act_preprocess: the weights were made with users.parts.Scale, the configuration says users",
        ),
        (
            QUANT.replace("}", ", act_quantize: users.parts.Halve}"),
            "Slim.quant.act_quantize: the weights were made with none, the configuration says users.parts.Halve; leave",
        ),
        ("Slim=null", "Slim.quant.weight_preprocess: the weights were made with users.parts.Halve"),
    ],
)
def test_the_configuration_must_name_the_classes_of_the_weights(trained, weights, capsys, quant, message):
    _, config = trained
    assert call("eval", config, quant, f"Global.pretrained_model={weights}") == 2
    (line,) = errors(capsys)
    assert message in line


@pytest.mark.parametrize("slim", [QUANT, "Slim={quant: {name: qat}}", "Slim=null"])
def test_a_record_has_nothing_imported(trained, weights, tmp_path, capsys, slim):
    _, config = trained
    for suffix in (".pdparams", ".slim.json"):
        (tmp_path / f"foreign{suffix}").write_bytes((weights.parent / f"{weights.name}{suffix}").read_bytes())
    record = io.read_json(tmp_path / "foreign.slim.json")
    record["steps"][0]["options"] |= {"act_preprocess": "evil.Layer", "weight_preprocess": "evil.Layer"}
    io.write_json(tmp_path / "foreign.slim.json", record)
    assert call("eval", config, slim, f"Global.pretrained_model={tmp_path}/foreign") == 2
    assert "the weights were made with evil.Layer" in errors(capsys)[0]
    assert "evil" not in sys.modules


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Halve", "act_preprocess: a class such as package.module.Class is needed, found 'Halve'"),
        ("users.parts.", "act_preprocess: a class such as package.module.Class is needed"),
        ("users.part.Halve", "act_preprocess: users.part.Halve: there is no module users.part; install it, or put its"),
        ("nowhere.parts.Halve", "act_preprocess: nowhere.parts.Halve: there is no module nowhere"),
        (
            "users.broken.Halve",
            "act_preprocess: users.broken cannot be imported: ModuleNotFoundError: No module named 'no_such_package",
        ),
        ("users.parts.Halv", "act_preprocess: unknown class of users.parts 'Halv'; did you mean 'Halve'"),
        (
            "users.parts.Plain",
            "act_preprocess: a subclass of paddle.nn.Layer is needed, found <class 'users.parts.Plain",
        ),
        ("users.parts.Sized", "act_preprocess: Sized is made without arguments, and needs size"),
    ],
)
def test_what_cannot_be_used_is_one_line(trained, tmp_path, capsys, name, message):
    _, config = trained
    quant = f"Slim.quant={{name: qat, act_preprocess: {name}}}"
    assert call("train", config, quant, f"Global.output_dir={tmp_path}") == 2
    (line,) = errors(capsys)
    assert message in line
    assert "Slim.quant" in line
