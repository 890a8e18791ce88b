"""Networks of a PaddleClas on the path: a small checkout that is written here, and the real package where it is."""

import sys

import numpy as np
import paddle
import pytest
import yaml
from support.commands import call, errors
from support.project import make_project

from ppcls_compress import models
from ppcls_compress.errors import ConfigError
from ppcls_compress.models import catalog, upstream, weights
from ppcls_compress.models.layers import DropPath

TINY = """
import paddle
from paddle import nn
from ....utils import logger
from ....utils.save_load import load_dygraph_pretrain
from ..base.theseus_layer import TheseusLayer

MODEL_URLS = {"TinyNet_X": "https://example.com/TinyNet_X_pretrained.pdparams"}


class DropPath(nn.Layer):
    def __init__(self, drop_prob=None):
        super().__init__()
        self.drop_prob = paddle.to_tensor(drop_prob)

    def forward(self, x):
        return x if self.drop_prob == 0.0 or not self.training else x * 2


class Tiny(TheseusLayer):
    def __init__(self, class_num=1000, width=8, scale=1.0, **kwargs):
        super().__init__()
        assert isinstance(scale, float)
        name = paddle.ParamAttr(name="stem_weights")
        self.stem = nn.Conv2D(3, width, 3, padding=1, weight_attr=name, bias_attr=False)
        self.norm = nn.BatchNorm2D(width)
        self.conv = nn.Conv2D(width, 16, 3, padding=1)
        self.fc = nn.Linear(16, class_num)
        self.drop_path = DropPath(0.25)

    def forward(self, x):
        x = self.drop_path(nn.functional.relu(self.norm(self.stem(x))))
        return self.fc(nn.functional.relu(self.conv(x)).mean([2, 3]))


def TinyNet_X(pretrained=False, use_ssld=False, **kwargs):
    model = Tiny(**kwargs)
    if pretrained:
        load_dygraph_pretrain(model, MODEL_URLS["TinyNet_X"])
    return model


def OtherNet(**kwargs):
    raise KeyError("depth")
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A PaddleClas checkout on the path, whose own packages must not be imported."""
    root = tmp_path / "PaddleClas"
    files = {
        "ppcls/__init__.py": "raise RuntimeError('not for us')",
        "ppcls/arch/__init__.py": "raise RuntimeError('not for us')",
        "ppcls/arch/backbone/__init__.py": "from .model_zoo.tiny import TinyNet_X, OtherNet\nraise RuntimeError",
        "ppcls/arch/backbone/base/theseus_layer.py": "from paddle import nn\nclass TheseusLayer(nn.Layer):\n    pass\n",
        "ppcls/arch/backbone/model_zoo/tiny.py": TINY,
        "ppcls/utils/__init__.py": "raise RuntimeError('not for us')",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.syspath_prepend(str(root))
    return root


def test_a_network_of_a_checkout_is_built_by_its_own_code_alone(checkout):
    before = {name for name in sys.modules if name.startswith(("ppcls.", "paddleclas"))}
    net = models.build("TinyNet_X", class_num=5, width=4, scale="1e-1")
    assert net(paddle.zeros([2, 3, 8, 8])).shape == [2, 5]
    assert list(net.stem.weight.shape) == [4, 3, 3, 3]
    assert {name for name in sys.modules if name.startswith(("ppcls.", "paddleclas"))} == before
    assert "ppcls" not in sys.modules


def test_parameters_with_names_of_their_own_can_be_had_twice(checkout):
    first, second = (models.build("TinyNet_X", class_num=5) for _ in range(2))
    assert first.stem.weight.name == second.stem.weight.name == "stem_weights"
    assert first.conv.weight.name != second.conv.weight.name


def test_drop_path_that_looks_at_numbers_is_one_that_can_be_traced(checkout):
    net = models.build("TinyNet_X", class_num=5)
    assert isinstance(net.drop_path, DropPath)
    assert net.drop_path.p == 0.25
    assert not any("drop_path" in key for key in net.state_dict())


def test_options_that_its_code_does_not_speak_of_are_refused(checkout):
    with pytest.raises(ConfigError, match=r"Arch\.widht: unknown option of TinyNet_X 'widht'; did you mean 'width'\?"):
        catalog.check("TinyNet_X", {"class_num": 5, "widht": 4})
    with pytest.raises(ConfigError, match=r"Arch\.class_num: expected"):
        catalog.check("TinyNet_X", {"class_num": "five"})
    with pytest.raises(ConfigError, match=r"Arch\.name: OtherNet of .* cannot be built: KeyError: 'depth'"):
        models.build("OtherNet")


def test_published_weights_are_those_that_its_module_names(checkout, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights.needs_download(True, "TinyNet_X") == "https://example.com/TinyNet_X_pretrained.pdparams"


def test_an_unknown_name_is_compared_with_both_and_says_what_to_install(checkout, monkeypatch):
    with pytest.raises(ConfigError, match=r"'TinyNet_Y'; did you mean 'TinyNet_X'\?") as error:
        catalog.get("TinyNet_Y")
    assert "pip install" not in str(error.value)
    monkeypatch.setattr(upstream, "root", lambda: None)
    with pytest.raises(ConfigError, match=r"'RepVGG_A9'; did you mean 'RepVGG_A") as error:
        catalog.get("RepVGG_A9")
    assert "The nearest that is built in is RepVGG_A" in str(error.value)
    assert "pip install --no-deps paddleclas==2.6.0, or a PaddleClas checkout on PYTHONPATH" in str(error.value)


def test_a_package_with_a_folder_ppcls_is_found_like_a_checkout(checkout, tmp_path, monkeypatch):
    package = tmp_path / "site" / "paddleclas"
    package.parent.mkdir()
    (checkout / "ppcls").rename(tmp_path / "ppcls")
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('not for us')")
    (tmp_path / "ppcls").rename(package / "ppcls")
    monkeypatch.syspath_prepend(str(package.parent))
    assert upstream.root() == package / "ppcls"
    assert models.build("TinyNet_X", class_num=2)(paddle.zeros([1, 3, 8, 8])).shape == [1, 2]


@pytest.mark.slow
def test_it_is_pruned_quantized_trained_and_exported_like_a_native_one(checkout, tmp_path, capsys):
    config = make_project(tmp_path / "project", Arch={"name": "TinyNet_X", "class_num": 3, "scale": 1.0})
    slim = "Slim={prune: {name: fpgm, pruned_ratio: 0.5}, quant: {name: pact}}"
    assert call("train", config, slim, "Global.epochs=1") == 0
    best = f"Global.pretrained_model={tmp_path}/project/output/TinyNet_X/latest"
    assert call("export_model", config, slim, best) == 0
    record = yaml.safe_load((tmp_path / "project/output/TinyNet_X/latest.slim.json").read_text())
    assert [step["kind"] for step in record["steps"]] == ["prune", "quant"]
    assert record["steps"][1]["quantized"] == ["stem", "conv", "fc"]
    assert call("train", config, "Arch.with=8") == 2
    assert "unknown option of TinyNet_X 'with'; did you mean 'width'?" in errors(capsys)[0]


REAL = upstream.root()


@pytest.mark.skipif(REAL is None, reason="PaddleClas is not installed")
@pytest.mark.parametrize("name", ["StarNet_S1", "DLA46x_c", "DeiT_tiny_patch16_224", "DarkNet53"])
def test_networks_of_the_real_package_give_logits(name):
    net = models.build(name, class_num=7)
    net.eval()
    with paddle.no_grad():
        logits = net(paddle.zeros([1, 3, 224, 224]))
    assert logits.shape == [1, 7]
    assert np.isfinite(logits.numpy()).all()
