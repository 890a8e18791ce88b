"""`_BASE_`: a file on top of another."""

import pytest

from ppcls_compress.config.load import load_config, read_with_bases
from ppcls_compress.errors import ConfigError

BASE = """
Global: {epochs: 5, seed: 3}
Arch: {name: CIFARResNet8, class_num: 10}
Optimizer: {name: Momentum, momentum: 0.9, lr: {name: Cosine, learning_rate: 0.1, warmup_epoch: 2}}
"""


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    write("a/base.yaml", BASE)
    return write


def test_sections_are_merged_and_another_name_replaces_a_section(write):
    path = write(
        "a/b/own.yaml",
        "_BASE_: ../base.yaml\nGlobal: {epochs: 7}\n"
        "Optimizer: {lr: {learning_rate: 0.5}}\nSlim: {prune: {name: fpgm}}\n",
    )
    config = load_config(path, ["Global.seed=4"])
    assert (config.Global.epochs, config.Global.seed, config.Arch.class_num) == (7, 4, 10)
    assert (config.Optimizer[0].lr.learning_rate, config.Optimizer[0].lr.warmup_epoch) == (0.5, 2)
    assert config.Slim.prune.name == "fpgm"
    path = write("a/adam.yaml", "_BASE_: base.yaml\nOptimizer: {name: Adam, lr: {name: Constant, learning_rate: 1}}\n")
    assert read_with_bases(path)[0]["Optimizer"] == {"name": "Adam", "lr": {"name": "Constant", "learning_rate": 1}}
    path = write("a/none.yaml", "_BASE_: base.yaml\nOptimizer: null\n")
    assert not load_config(path).Optimizer


def test_a_wrong_key_of_the_base_is_told_with_its_file(write):
    write("a/wrong.yaml", BASE + "Globe: 1\n")
    path = write("a/own.yaml", "_BASE_: wrong.yaml\n")
    with pytest.raises(ConfigError, match=r"own\.yaml \(on .*wrong\.yaml\).*Globe"):
        load_config(path)


def test_circles_are_refused(write):
    write("one.yaml", "_BASE_: two.yaml\n")
    path = write("two.yaml", "_BASE_: one.yaml\n")
    with pytest.raises(ConfigError, match=r"go round in a circle: .*two\.yaml -> .*one\.yaml -> .*two\.yaml"):
        load_config(path)
    for number in range(9):
        write(f"{number}.yaml", f"_BASE_: {number + 1}.yaml\n")
    with pytest.raises(ConfigError, match="more than 8 files"):
        load_config(write("start.yaml", "_BASE_: 0.yaml\n"))


@pytest.mark.parametrize(
    "named",
    [
        "/etc/base.yaml",
        "../../../base.yaml",
        "x/../base.yaml",
        "base.txt",
        "~/base.yaml",
        "$HOME/base.yaml",
        "[a.yaml]",
    ],
)
def test_a_base_is_near_and_is_yaml(write, named):
    with pytest.raises(ConfigError, match="_BASE_: found .*allowed is one .yaml or .yml file, relative to the folder"):
        load_config(write("a/own.yaml", f"_BASE_: {named}\n"))


def test_a_base_that_is_not_there_is_named(write):
    with pytest.raises(ConfigError, match=r"own\.yaml: _BASE_: .*basf\.yaml: no such file; did you mean .*base\.yaml"):
        load_config(write("a/own.yaml", "_BASE_: basf.yaml\n"))
