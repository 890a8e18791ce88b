"""A run whose loss stops being a number: it ends, names the layer, and leaves the last good checkpoint."""

import pytest
from support.commands import call, errors
from support.project import make_project

from ppcls_compress import io


@pytest.mark.parametrize("grid", ["alpha", "moving_average"])
def test_the_run_stops_and_can_be_taken_up(tmp_path, capsys, grid):
    config = make_project(tmp_path)
    quant = f"Slim.quant={{name: pact, grid: {grid}}}"
    rate = "{name: Piecewise, decay_epochs: [1], values: [0.01, 1.0e+38]}"
    broken = [quant, "Global.epochs=3", f"Optimizer.lr={rate}", f"Global.output_dir={tmp_path}"]
    assert call("train", config, *broken) == 2
    (line,) = errors(capsys)
    assert "training stopped in epoch 2" in line
    assert "first layer with such values: stem.conv" in line
    folder = tmp_path / "CIFARResNet8"
    assert {path.name for path in folder.glob("*.pdparams")} == {
        f"{name}.pdparams" for name in ("best_model", "epoch_1", "latest")
    }
    state = io.read_state(folder / "latest.pdparams")
    learned = [value for key, value in state.items() if key.endswith(("log_alpha", "_fake_quant_input.ends"))]
    assert len(learned) == 8
    assert max(abs(value).max() for value in learned) < 10
    resume = [f"Global.checkpoints={folder}/latest", f"Global.output_dir={tmp_path}/resumed"]
    assert call("train", config, quant, *resume) == 0
