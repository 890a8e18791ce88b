"""`Global.save_format: safetensors`: a pruned and quantized network in one file, which every command starts from."""

import numpy as np
import pytest
from support.commands import QUANT, call, errors
from support.project import make_project

from ppcls_compress import io, tensors
from ppcls_compress.engine import checkpoint

SLIM = ["Slim.prune={name: fpgm, pruned_ratio: 0.3}", QUANT]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = make_project(tmp_path_factory.mktemp("safe"), EMA={"decay": 0.5})
    assert call("train", config, "Global.epochs=1", "Global.save_format=safetensors", *SLIM) == 0
    return config, config.parent / "output/CIFARResNet8"


def test_both_forms_hold_the_same(run):
    _, folder = run
    for name in ("latest", "best_model", "epoch_1"):
        state, record = checkpoint.read_weights(folder / f"{name}.safetensors")
        other = io.read_state(folder / f"{name}.pdparams")
        assert state.keys() == other.keys()
        assert all(np.array_equal(state[key], other[key]) for key in state)
        assert record == io.read_json(folder / f"{name}.slim.json")
        assert [step["kind"] for step in record["steps"]] == ["prune", "quant"]


@pytest.mark.parametrize("ending", [".safetensors", ""])
def test_the_one_file_is_enough(run, tmp_path, ending):
    config, folder = run
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((folder / "latest.safetensors").read_bytes())
    for name, path in (("whole", folder / "latest"), ("alone", f"{tmp_path}/alone{ending}")):
        report = ["--json", str(tmp_path / f"{name}.json")]
        assert call("eval", config, f"Global.pretrained_model={path}", arguments=report) == 0
    scores = [io.read_json(tmp_path / f"{name}.json") for name in ("whole", "alone")]
    for score in scores:
        score.pop("weights", None)
    assert str(scores[0]).replace(str(folder / "latest"), "") == str(scores[1]).replace(f"{tmp_path}/alone{ending}", "")


def test_an_altered_one_is_refused(run, tmp_path, capsys):
    config, folder = run
    altered = bytearray((folder / "latest.safetensors").read_bytes())
    altered[-5] ^= 64
    (tmp_path / "bad.safetensors").write_bytes(altered)
    assert call("eval", config, f"Global.pretrained_model={tmp_path}/bad.safetensors") == 2
    (line,) = errors(capsys)
    assert "was altered since it was written" in line


def test_a_record_of_ours_that_fits_no_form_is_refused(run, tmp_path, capsys):
    config, folder = run
    state, _ = tensors.read(folder / "latest.safetensors")
    tensors.write(tmp_path / "bad.safetensors", state, {"version": 1, "steps": 3})
    assert call("eval", config, f"Global.pretrained_model={tmp_path}/bad.safetensors") == 2
    assert "not a compression record" in errors(capsys)[0]
