"""PaddleSlim's AnalysisPTQ and AnalysisQAT, for layers."""

import csv
import json

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_compress.errors import ConfigError, UserError
from ppcls_compress.slim import AnalysisPTQ, AnalysisQAT, quant
from ppcls_compress.slim.options import QuantOptions

BATCH = paddle.to_tensor(np.random.default_rng(4).standard_normal((16, 4), np.float32))
COARSE = {"per_layer": [{"layers": ["2"], "weight_bits": 2}]}


def network() -> nn.Layer:
    paddle.seed(8)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))


def closeness(model) -> float:
    """Higher where the answers are those of the float network."""
    exact = network()
    return -float((model(BATCH) - exact(BATCH)).square().mean())


def test_ptq_ranks_layers_and_finds_a_network_that_reaches_a_target(tmp_path):
    analysis = AnalysisPTQ(network(), closeness, [(BATCH, None)], tmp_path, ptq_config={"algo": "abs_max", **COARSE})
    found = analysis.metric_error_analyse()
    assert analysis.sensitivity_ranklist[0] == "2"
    assert analysis.base_metric == pytest.approx(0, abs=1e-12)
    assert analysis.quant_metric < 0
    assert found["2"] == min(found.values())
    assert (tmp_path / "analysis.txt").read_text().startswith(f"quant layer name: 2, eval metric: {found['2']}\n")
    reached = analysis.get_target_quant_model(found["2"] / 10)
    assert sorted(quant.quant_layers(reached)) == ["0", "4"]
    assert closeness(reached) >= found["2"] / 10
    with pytest.raises(UserError, match="target_metric: 1 is not reached"):
        analysis.get_target_quant_model(1)


def test_an_analysis_goes_on_where_it_was(tmp_path):
    first = AnalysisPTQ(network(), data_loader=[BATCH], save_dir=tmp_path)
    found = first.metric_error_analyse()
    kept = json.loads((tmp_path / "analysis.json").read_text())
    kept["layers"][0]["alone"] = 0.125
    (tmp_path / "analysis.json").write_text(json.dumps({**kept, "layers": kept["layers"][:1]}))
    resumed = AnalysisPTQ(network(), data_loader=[BATCH], save_dir=tmp_path, resume=True)
    assert resumed.metric_error_analyse() == {**found, kept["layers"][0]["layer"]: 0.125}
    rows = list(csv.DictReader(resumed.statistical_analyse().open()))
    assert sorted(row["layer"] for row in rows) == ["0", "2", "4"]
    assert all(float(row["output_db"]) > 10 for row in rows)
    with pytest.raises(UserError, match="is of another network"):
        AnalysisPTQ(network(), data_loader=[BATCH], save_dir=tmp_path, resume=True, ptq_config={"weight_bits": 4})


def test_qat_tells_what_a_layer_alone_in_float_gains(tmp_path):
    model, _ = quant.prepare(network(), QuantOptions(name="qat", **COARSE))
    quant.calibrate(model, [BATCH])
    model.eval()
    analysis = AnalysisQAT(model, eval_function=closeness, data_loader=[BATCH], save_dir=tmp_path)
    gains = analysis.metric_error_analyse()
    assert analysis.sensitivity_ranklist[0] == "2"
    model[2].quantizing = False
    assert gains["2"] == pytest.approx(closeness(model) - analysis.qat_metric)
    model[2].quantizing = True
    assert closeness(model) == analysis.qat_metric
    by_classes = AnalysisQAT(model, data_loader=[BATCH], save_dir=tmp_path / "classes")
    assert -1 <= min(by_classes.metric_error_analyse().values()) <= 1


def test_what_cannot_be_analyzed_is_refused(tmp_path):
    with pytest.raises(UserError, match="model: a paddle.nn.Layer is needed; what is exported"):
        AnalysisPTQ("folder", data_loader=[BATCH], save_dir=tmp_path)
    with pytest.raises(UserError, match="data_loader: at least one batch"):
        AnalysisPTQ(network(), save_dir=tmp_path)
    with pytest.raises(ConfigError, match=r"ptq_config.algo: .*'avg'"):
        AnalysisPTQ(network(), data_loader=[BATCH], save_dir=tmp_path, ptq_config={"algo": "avg"})
    with pytest.raises(UserError, match="holds no quantized layer"):
        AnalysisQAT(network(), data_loader=[BATCH], save_dir=tmp_path)
    with pytest.raises(UserError, match="eval_function: is needed"):
        AnalysisPTQ(network(), data_loader=[BATCH], save_dir=tmp_path).get_target_quant_model(0.5)
