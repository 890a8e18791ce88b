"""One row for each exported model: what it costs and what it is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import paddle
from rich.table import Table

from ppcls_compress.config.schema import Config
from ppcls_compress.data import build_loader
from ppcls_compress.deploy import artifact, sessions
from ppcls_compress.deploy.measure import latency
from ppcls_compress.deploy.predictor import Predictor
from ppcls_compress.engine.evaluate import evaluate, tell_skipped
from ppcls_compress.errors import ConfigError
from ppcls_compress.metrics import Metrics
from ppcls_compress.metrics.topk import TopkAcc
from ppcls_compress.report.page.comparison import Measured
from ppcls_compress.report.printing import standard_output

Row = dict[str, Any]


def summarize(config: Config, artifacts: Mapping[str, str], *, threads: int, batch_size: int, rounds: int) -> list[Row]:
    """Rows of name, runtime, metric, its value (percent), params, flops (multiply-adds), bytes (all files), latency_ms.

    The metric is `top1`, whatever the configuration measures; of images with several labels it is the one that chooses
    the best checkpoint. The latency is the median of a batch.

    Args:
        config: its `DataLoader.Eval` gives the images.
        artifacts: folders by name.
        threads: for the latency.
        batch_size: for the latency.
        rounds: how often each model is timed.

    Raises:
        UserError: an artifact cannot be loaded or run.
    """
    if config.Global.eval_mode != "classification":
        raise ConfigError(f"Global.eval_mode: is {config.Global.eval_mode}; the table has top-1 accuracy, of classes")
    measured = config.Metric.Eval[0] if config.Global.use_multilabel else TopkAcc(topk=(1,))
    metrics = Metrics([measured])
    loader = build_loader(config.DataLoader.Eval, class_num=config.Arch.class_num, seed=0, training=False)
    loaded = {name: artifact.load(folder) for name, folder in artifacts.items()}
    shape = [batch_size, *config.Global.image_shape]
    times = latency.measure(artifacts, shape, threads=threads, rounds=rounds)
    rows, told = [], set()
    for name, model in loaded.items():
        predictor = Predictor(model.directory)
        found = evaluate(
            lambda images, logits=predictor.logits: paddle.to_tensor(logits(images.numpy())), loader, metrics
        )
        tell_skipped(loader, told)
        rows.append(_row(name, model, measured.main, found[measured.main], times[name].median_ms))
    return rows


def of_page(found: Measured) -> list[Row]:
    """The same rows from what was measured for a page, which times each network's first format among others."""
    rows = []
    for run in found.runs:
        own = run.exported[0].description.format
        median = next(row.median_ms for row in found.times if (row.name, row.format) == (run.name, own))
        rows.append(_row(run.name, run.exported[0], "top1", found.answers.top1(run.name), median))
    return rows


def _row(name: str, model: artifact.Artifact, metric: str, value: float, median_ms: float) -> Row:
    return {
        "name": name,
        "runtime": sessions.title(model),
        "metric": metric,
        metric: round(100 * value, 2),
        "params": model.description.params,
        "flops": model.description.flops,
        "bytes": model.bytes,
        "latency_ms": round(median_ms, 4),
    }


def show(rows: Sequence[Row], *, threads: int, batch_size: int) -> None:
    """Print the rows as a table on standard output."""
    title = f"latency: median, batch {batch_size}, {threads} thread{'s' if threads > 1 else ''}"
    table = Table(title=title, title_justify="left")
    table.add_column("model")
    table.add_column("runtime")
    metric = rows[0]["metric"]
    score = "top-1 %" if metric == "top1" else f"{metric} %"
    for heading in (score, "parameters", "multiply-adds", "bytes on disk", "latency ms"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row["name"],
            row["runtime"],
            f"{row[metric]:.2f}",
            _count(row["params"]),
            _count(row["flops"]),
            _count(row["bytes"]),
            f"{row['latency_ms']:.3f}",
        )
    standard_output().print(table)


def _count(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"
