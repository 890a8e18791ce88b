"""Which weights are meant where a finished run is exported, evaluated or asked."""

import json
from pathlib import Path

import pytest
import yaml
from support.project import config as project

from ppcls_compress.config.load import load_config
from ppcls_compress.config.runs import trained
from ppcls_compress.errors import ConfigError

QUANT = "Slim.quant={name: pact}"
DENSE: list = []
QUANTIZED = [{"kind": "quant", "version": 1, "options": {}, "quantized": [], "skipped": [], "folded": [], "custom": []}]


@pytest.fixture
def run(tmp_path):
    """Gives what `trained` makes of overrides, for a configuration with entries of `Global` and `Arch` of its own."""

    def call(*overrides, arch=None, **entries):
        sections = project(tmp_path)
        sections["Global"] |= entries
        sections["Arch"] |= arch or {}
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(sections))
        config, told = trained(load_config(path, overrides), overrides)
        return config.Global.pretrained_model, told

    return call


def leave(prefix: Path, steps=None):
    """Weights at `prefix`, with a record of the given steps beside."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{prefix}.pdparams").touch()
    if steps is not None:
        Path(f"{prefix}.slim.json").write_text(json.dumps({"version": 1, "steps": steps}))
    return str(prefix)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "output" / "CIFARResNet8"


def test_the_best_of_the_own_run_is_taken_where_nothing_is_named(run, folder):
    latest = leave(folder / "latest")
    assert run() == (latest, f"weights: {latest}, of this configuration's own run")
    best = leave(folder / "best_model")
    assert run() == (best, f"weights: {best}, of this configuration's own run")


def test_published_weights_are_what_a_run_starts_from(run, folder):
    told = f"weights: as Arch.pretrained says; a run of this configuration has left none in {folder}"
    assert run(arch={"pretrained": True}) == (None, told)
    best = leave(folder / "best_model")
    found, told = run(arch={"pretrained": True})
    assert found == best
    assert told.endswith("; Arch.pretrained is what it started from")
    assert run("Arch.pretrained=True") == (None, "")
    assert run("Arch.pretrained=False", arch={"pretrained": True})[0] == best


def test_calibrated_weights_come_before_trained_ones_where_the_configuration_only_calibrates(run, folder):
    best, calibrated = leave(folder / "best_model", DENSE), leave(folder / "quantized", QUANTIZED)
    assert run("Slim.quant={name: ptq}")[0] == calibrated
    assert run()[0] == best


def test_what_is_named_is_taken(run, folder, tmp_path):
    best, other = leave(folder / "best_model", QUANTIZED), leave(tmp_path / "other", DENSE)
    assert run(f"Global.pretrained_model={other}", QUANT) == (other, "")
    assert run(pretrained_model=best) == (best, "")
    found, told = run(pretrained_model=other)
    assert found == other
    assert told.endswith(f"{other}, as Global.pretrained_model says; what this configuration's own run left is {best}")
    assert run("Global.pretrained_model=null", pretrained_model=other)[0] == best


def test_a_run_that_compressed_what_the_file_names_is_meant_itself(run, folder, tmp_path):
    start = leave(tmp_path / "start", DENSE)
    assert run(QUANT, pretrained_model=start) == (start, "")
    leave(folder / "best_model", DENSE)
    assert run(QUANT, pretrained_model=start)[0] == start
    best = leave(folder / "best_model", QUANTIZED)
    found, told = run(QUANT, pretrained_model=start)
    assert found == best
    assert told.endswith(f"it started from Global.pretrained_model, {start}, which lacks Slim.quant")


def test_weights_without_a_record_may_be_quantized_by_paddleslim_but_published_ones_are_not(run, folder, tmp_path):
    best, start = leave(folder / "best_model", QUANTIZED), leave(tmp_path / "start")
    assert run(QUANT, pretrained_model=start)[0] == start
    assert run(QUANT, pretrained_model="https://some.invalid/x.pdparams")[0] == best


@pytest.mark.parametrize(
    ("there", "state"), [(None, "does not exist"), ("train.log", "has none"), ("epoch_4.pdparams", "has only epoch_4")]
)
def test_a_run_that_left_nothing_is_told_with_its_folder(run, folder, there, state):
    if there:
        folder.mkdir(parents=True)
        (folder / there).touch()
    with pytest.raises(ConfigError) as failure:
        run()
    text = str(failure.value)
    assert text.startswith("Global.pretrained_model: name the trained weights, such as -o Global.pretrained_model=")
    assert text.endswith(f"own run is taken, from {folder}, which {state}")
