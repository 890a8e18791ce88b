"""`AnalysisPTQ` and `AnalysisQAT` under PaddleSlim's names, for layers, over `slim.quant.analysis`.

    analysis = AnalysisPTQ(model, eval_function=accuracy, data_loader=loader, ptq_config={"algo": "KL"})
    analysis.metric_error_analyse()
    model = analysis.get_target_quant_model(0.70)

PaddleSlim's take folders of exported programs; here they take a `paddle.nn.Layer`, and `eval_function(model)` gives a
number, the higher the better. What is found is kept as JSON, where PaddleSlim pickles it.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import paddle

from ppcls_compress import io
from ppcls_compress.errors import ConfigError, UserError, unknown
from ppcls_compress.slim.copying import copied
from ppcls_compress.slim.options.quant import QuantOptions
from ppcls_compress.slim.options.rules import LayerRule
from ppcls_compress.slim.prune.sensitivity import checksum
from ppcls_compress.slim.quant import layers
from ppcls_compress.slim.quant.analysis import Row, agreement, analyze
from ppcls_compress.slim.quant.calibrate import calibrate, required_quant_layers
from ppcls_compress.slim.quant.causes import Cause
from ppcls_compress.slim.quant.prepare import prepare

Score = Callable[[paddle.nn.Layer], float]
_ALGORITHMS = {
    "KL": "KLQuantizer",
    "hist": "HistQuantizer",
    "abs_max": "AbsmaxQuantizer",
    "mse": "MSEQuantizer",
}
_BATCHES = 10
_NO_PATHS = "a paddle.nn.Layer is needed; what is exported is quantized by ppcls-compress quantize --model"


class _Analysis:
    """What both have in common: rows of layers, kept in a file."""

    def __init__(
        self, model: paddle.nn.Layer, score: Score | None, batches: list[Any], save_dir: str | Path, resume: bool
    ) -> None:
        self._model, self._score, self._batches = model, score, batches
        self._folder = io.make_folder(save_dir)
        self._about = {"network": checksum(model.state_dict())}
        self._rows = self._kept() if resume else []
        self.sensitivity_ranklist: list[str] = []

    def _kept(self) -> list[Row]:
        file = self._folder / "analysis.json"
        if not file.exists():
            return []
        found = io.read_json(file)
        try:
            if found["network"] != self._about["network"]:
                raise UserError(f"{file}: is of another network; take another save_dir, or resume=False")
            return [
                Row(**{**row, "causes": tuple(Cause(**cause) for cause in row["causes"])}) for row in found["layers"]
            ]
        except (KeyError, TypeError) as error:
            raise UserError(f"{file}: is no analysis of quantization; take another save_dir") from error

    def _look(self) -> Iterator[Row]:
        """The rows, those of an earlier run first; each is kept as soon as it is there."""
        yield from list(self._rows)
        done = [row.layer for row in self._rows]
        for row in analyze(self._model, self._batches, done=done, score=self._score):
            self._rows.append(row)
            io.write_json(
                self._folder / "analysis.json", {**self._about, "layers": [asdict(item) for item in self._rows]}
            )
            yield row

    def _judged(self) -> float:
        """The score of the whole network."""
        with layers.evaluating(self._model):
            return float(self._score(self._model))

    def _tell(self, metrics: Mapping[str, float]) -> None:
        """Write `analysis.txt`, in the order of the ranking."""
        lines = [f"quant layer name: {name}, eval metric: {metrics[name]}\n" for name in self.sensitivity_ranklist]
        with io.atomic(self._folder / "analysis.txt") as partial:
            partial.write_text("".join(lines), encoding="utf-8")

    def statistical_analyse(self) -> Path:
        """Write `statistic.csv`: decibels of weight, input and output of each layer, and the likely causes."""
        file = self._folder / "statistic.csv"
        names = [item.name for item in fields(Row)]
        rows = [asdict(row) | {"causes": "; ".join(cause.kind for cause in row.causes)} for row in self._look()]
        with io.atomic(file) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, names)
            writer.writeheader()
            writer.writerows(rows)
        return file


class AnalysisPTQ(_Analysis):
    """What calibration costs, layer by layer: the metric with one layer alone quantized.

    Args:
        model: float; a copy is calibrated.
        eval_function: model -> number, the higher the better; left out, the share of images whose class stays.
        data_loader: batches, or pairs of a batch and labels.
        save_dir: a folder for what is found.
        resume: go on from what the folder has.
        ptq_config: options of `QuantOptions`, and PaddleSlim's `batch_nums` (10) and `algo` (KL, hist, abs_max, mse).

    Attributes:
        base_metric: of the float network; of calibration `quant_metric`.
        quant_layer_metrics: with a layer alone quantized, by its name.
        sensitivity_ranklist: names, the most sensitive first.

    Raises:
        UserError: the model is no layer, there are no batches, or the folder is of another network.
        ConfigError: an option that does not exist.
    """

    def __init__(
        self,
        model: paddle.nn.Layer,
        eval_function: Score | None = None,
        data_loader: Iterable[Any] | None = None,
        save_dir: str | Path = "analysis_results",
        resume: bool = False,
        ptq_config: Mapping[str, Any] | None = None,
    ) -> None:
        given = dict(ptq_config or {})
        batches = _batches(data_loader, given.pop("batch_nums", _BATCHES))
        self._float, self._options = _layer(model), _options(given)
        super().__init__(self._quantized(self._options, batches), eval_function, batches, save_dir, resume)
        self.quant_layer_metrics: dict[str, float] = {}

    def _quantized(self, options: QuantOptions, batches: list[Any]) -> paddle.nn.Layer:
        model, _ = prepare(copied(self._float), options)
        calibrate(model, batches, reconstruction=options.reconstruction)
        model.eval()
        return model

    def metric_error_analyse(self) -> dict[str, float]:
        """Quantize each layer alone and judge the network; `analysis.txt` has the ranking.

        Returns:
            The metric by layer.
        """
        if self._score is not None:
            with layers.evaluating(self._float):
                self.base_metric = float(self._score(self._float))
            self.quant_metric = self._judged()
        self.quant_layer_metrics = {row.layer: row.alone for row in self._look()}
        self.sensitivity_ranklist = sorted(self.quant_layer_metrics, key=self.quant_layer_metrics.__getitem__)
        self._tell(self.quant_layer_metrics)
        return self.quant_layer_metrics

    def get_target_quant_model(self, target_metric: float) -> paddle.nn.Layer:
        """A calibrated network whose most sensitive layers stay float, as many as the metric asks for.

        Raises:
            UserError: there is no `eval_function`, or the metric is not reached with one layer left.
        """
        if self._score is None:
            raise UserError("eval_function: is needed to tell whether the target is reached")
        if not self.sensitivity_ranklist:
            self.metric_error_analyse()
        for count in range(len(self.sensitivity_ranklist)):
            left, kept = self.sensitivity_ranklist[:count], self.sensitivity_ranklist[count:]
            model = self._quantized(_without(self._options, left, kept), self._batches)
            if (reached := float(self._score(model))) >= target_metric:
                return model
        raise UserError(f"target_metric: {target_metric} is not reached, {reached:.6g} with one layer quantized")


class AnalysisQAT(_Analysis):
    """What quantization costs a trained network, layer by layer: the metric with one layer alone in float.

    Args:
        model: prepared and trained or calibrated; it holds the float weights too, so that no second network is needed.
        qat_metric: of the model; left out, `eval_function` is asked.
        eval_function: model -> number, the higher the better; left out, the share of images whose class is the float
            network's.
        data_loader: batches, or pairs of a batch and labels; the first 10 are looked at.
        save_dir: a folder for what is found.
        resume: go on from what the folder has.

    Attributes:
        nonquant_layer_metrics: by how much the metric rises with a layer alone in float, by its name.
        sensitivity_ranklist: names, the most sensitive first.

    Raises:
        UserError: as `AnalysisPTQ`; or the model holds no quantized layer.
    """

    def __init__(
        self,
        model: paddle.nn.Layer,
        qat_metric: float | None = None,
        eval_function: Score | None = None,
        data_loader: Iterable[Any] | None = None,
        save_dir: str | Path = "analysis_results",
        resume: bool = False,
    ) -> None:
        required_quant_layers(_layer(model))
        super().__init__(model, eval_function, _batches(data_loader, _BATCHES), save_dir, resume)
        self.qat_metric = qat_metric
        self.nonquant_layer_metrics: dict[str, float] = {}

    def metric_error_analyse(self) -> dict[str, float]:
        """Leave each layer alone in float and judge the network; `analysis.txt` has the ranking.

        Returns:
            The gain by layer.
        """
        rows = list(self._look())
        if self.qat_metric is None:
            self.qat_metric = agreement(self._model, self._batches) if self._score is None else self._judged()
        self.nonquant_layer_metrics = {row.layer: row.without - self.qat_metric for row in rows}
        self.sensitivity_ranklist = sorted(
            self.nonquant_layer_metrics, key=self.nonquant_layer_metrics.__getitem__, reverse=True
        )
        self._tell(self.nonquant_layer_metrics)
        return self.nonquant_layer_metrics


def _layer(model: object) -> paddle.nn.Layer:
    if not isinstance(model, paddle.nn.Layer):
        raise UserError(f"model: {_NO_PATHS}, found {type(model).__name__}")
    return model


def _batches(loader: Iterable[Any] | None, count: int) -> list[Any]:
    found = list(itertools.islice(loader or (), count))
    if not found:
        raise UserError("data_loader: at least one batch is needed, found none")
    return [batch[0] if isinstance(batch, list | tuple) else batch for batch in found]


def _options(given: dict[str, Any]) -> QuantOptions:
    algorithm = given.pop("algo", None)
    if algorithm is not None:
        if algorithm not in _ALGORITHMS:
            raise ConfigError(f"ptq_config.algo: {unknown('algorithm', algorithm, _ALGORITHMS)}")
        given["activation_quantizer"] = _ALGORITHMS[algorithm]
    return QuantOptions.from_dict({"name": "ptq", "asymmetric": "auto", **given})


def _without(options: QuantOptions, left: list[str], kept: list[str]) -> QuantOptions:
    """The options that leave some layers in float, without the rules that were for these alone."""

    def matters(rule: LayerRule) -> bool:
        named = [pattern for pattern in rule.layers if any(fnmatchcase(name, pattern) for name in left)]
        return not named or any(fnmatchcase(name, pattern) for name in kept for pattern in rule.layers)

    rules = tuple(rule for rule in options.per_layer if matters(rule))
    return replace(options, per_layer=rules, skip=(*options.skip, *left))
