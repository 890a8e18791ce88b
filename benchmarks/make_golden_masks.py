"""Record what PaddleSlim 2.6.0 prunes, for comparison where it does not install.

    python benchmarks/peer_env.py paddleslim DIR
    DIR/bin/python benchmarks/make_golden_masks.py [--out tests/data/paddleslim_masks]

Runs in the peer's environment and imports nothing of ours. The files are described in their directory's README.md.
"""

from __future__ import annotations

# isort: off
import cv2  # noqa: F401  PaddlePaddle 2.6.2 loaded before cv2 and sklearn segfaults
import sklearn  # noqa: F401

# isort: on
import argparse
import gzip
import json
import logging
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import paddle
from common import draw, fill
from paddle import nn
from paddle.vision import models
from paddleslim.analysis import dygraph_flops
from paddleslim.dygraph import FPGMFilterPruner, L1NormFilterPruner, L2NormFilterPruner

COMMAND = "DIR/bin/python benchmarks/make_golden_masks.py"
NETWORKS = ("resnet50", "mobilenet_v1", "mobilenet_v3_small", "mobilenet_v3_large")
INPUT = [1, 3, 224, 224]
RATIO = 0.3
PRUNERS = {pruner.__name__: pruner for pruner in (FPGMFilterPruner, L1NormFilterPruner, L2NormFilterPruner)}

# Layers as [type, arguments]; a network is a Sequential of them, so that its keys are "<position>.weight" and so on.
NETS = {
    "plain": [["conv", 3, 25, 3], ["bn", 25], ["relu"], ["conv", 25, 15, 3], ["bn", 15], ["relu"], ["conv", 15, 5, 1]],
    "depthwise": [
        ["conv", 3, 16, 3], ["bn", 16], ["relu6"], ["conv", 16, 16, 3, 16], ["bn", 16], ["relu6"],
        ["conv", 16, 24, 1], ["bn", 24], ["relu6"], ["conv", 24, 4, 1],
    ],
    "grouped": [
        ["conv", 3, 16, 3], ["bn", 16], ["relu"], ["conv", 16, 24, 3, 4], ["bn", 24], ["relu"], ["conv", 24, 4, 1],
    ],
    "residual": [
        ["conv", 3, 16, 3], ["bn", 16], ["relu"],
        ["residual",
            [["conv", 16, 12, 3], ["bn", 12], ["relu"], ["conv", 12, 20, 1]],
            [["conv", 16, 20, 1], ["bn", 20]]],
        ["relu"],
        ["residual", [["conv", 20, 12, 3], ["relu"], ["conv", 12, 20, 1]], []],
        ["relu"], ["conv", 20, 4, 1],
    ],
    "flatten": [["conv", 3, 10, 3], ["bn", 10], ["relu"], ["pool", 4], ["flatten"], ["linear", 40, 6]],
    "mlp": [["flatten"], ["linear", 192, 24], ["relu"], ["linear", 24, 24], ["relu"], ["linear", 24, 6]],
}  # fmt: skip
CASE_INPUT = [1, 3, 8, 8]
# (network, variable, ratio); "0.weight" and the like are masters unless the README's rules say otherwise.
CASES = [
    *[("plain", "0.weight", ratio) for ratio in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)],
    *[("plain", "3.weight", ratio) for ratio in (0.1, 0.3, 0.5, 0.7)],
    ("plain", "6.weight", 0.3),
    *[("depthwise", "0.weight", ratio) for ratio in (0.3, 0.7)],
    ("depthwise", "3.weight", 0.3),
    ("depthwise", "6.weight", 0.3),
    *[("grouped", "0.weight", ratio) for ratio in (0.1, 0.3, 0.5, 0.7)],
    ("grouped", "3.weight", 0.3),
    *[("residual", variable, 0.3) for variable in ("0.weight", "3.main.0.weight", "3.main.3.weight")],
    *[("residual", variable, 0.3) for variable in ("3.shortcut.0.weight", "5.main.0.weight", "5.main.2.weight")],
    *[("flatten", "0.weight", ratio) for ratio in (0.3, 0.5)],
]
# (variable, ratio, num_head) of the network "mlp", axis 1, prune_type="fc": not a criterion of FPGM upstream.
FC_CASES = [("1.weight", 0.3, -1), ("3.weight", 0.5, -1), ("3.weight", 0.5, 4), ("5.weight", 0.3, -1)]
TIES = [(size, period) for size in (16, 32, 100) for period in (1, 4)]


class Residual(nn.Layer):
    """relu-free residual block: main(x) + shortcut(x)."""

    def __init__(self, main, shortcut):
        super().__init__()
        self.main = build(main)
        self.shortcut = build(shortcut) if shortcut else None

    def forward(self, x):
        """Images in, images out."""
        return self.main(x) + (self.shortcut(x) if self.shortcut is not None else x)


LAYERS = {
    "conv": lambda cin, cout, k, groups=1: nn.Conv2D(cin, cout, k, padding=k // 2, groups=groups, bias_attr=False),
    "bn": nn.BatchNorm2D,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "pool": nn.AvgPool2D,
    "flatten": nn.Flatten,
    "linear": nn.Linear,
    "residual": Residual,
}


def build(layers) -> nn.Sequential:
    """A network from its plain description."""
    return nn.Sequential(*[LAYERS[kind](*arguments) for kind, *arguments in layers])


def removed(plan, keys) -> dict[str, dict[str, list[int]]]:
    """Removed indices by state-dict key and axis; what the plan says of activations is left out."""
    found: dict[str, dict[str, list[int]]] = {}
    for name, masks in plan.masks.items():
        if name in keys:
            zeros = {str(mask.dims): np.flatnonzero(np.asarray(mask.mask) == 0).tolist() for mask in masks}
            found[keys[name]] = {axis: indices for axis, indices in zeros.items() if indices}
    return {key: axes for key, axes in found.items() if axes}


def scores(pruner: str, weight) -> np.ndarray:
    """The criterion in float64, by its definition: tells how far upstream's float32 decision is from a tie."""
    filters = weight.reshape(len(weight), -1).astype(np.float64)
    if pruner == "FPGMFilterPruner":
        return np.array([np.sqrt(((filters - one) ** 2).sum(1)).sum() for one in filters])
    return np.abs(filters).mean(1) if pruner == "L1NormFilterPruner" else np.sqrt((filters**2).sum(1))


def narrowest_gap(pruner: str, net, plan_removed, masters) -> float:
    """Smallest relative distance, over all masters, between the best removed and the worst kept score.

    Negative when float64 would have chosen otherwise. Valid where upstream averages no groups.
    """
    weights = {key: np.asarray(value) for key, value in net.state_dict().items()}
    gaps = []
    for master in masters:
        value = scores(pruner, weights[master])
        gone = plan_removed[master]["0"]
        kept = np.delete(value, gone)
        gaps.append((kept.min() - value[gone].max()) / abs(value[gone].max()))
    return float(min(gaps))


def costs(net) -> dict[str, object]:
    """FLOPs under both of upstream's countings, and trainable parameters."""
    return {
        "flops": {
            "all": int(dygraph_flops(net, INPUT)),
            "conv": int(dygraph_flops(net, INPUT, only_conv=True)),
        },
        "params": int(sum(np.prod(value.shape) for value in net.parameters() if not value.stop_gradient)),
    }


def network_record(name: str) -> dict[str, object]:
    """Everything PaddleSlim does to one network of paddle.vision.models, under each pruner."""
    record: dict[str, object] = {
        "command": COMMAND,
        "versions": versions(),
        "input": INPUT,
        "ratio": RATIO,
        "pruners": {},
    }
    for pruner_name, pruner_class in PRUNERS.items():
        net = getattr(models, name)()
        fill(net)
        net.eval()
        before = costs(net)
        keys = {value.name: key for key, value in net.state_dict().items()}
        pruner = pruner_class(net, INPUT)
        masters = [keys[collection.master_name] for collection in pruner.collections]
        asked = [
            value.name
            for layer in net.sublayers()
            if isinstance(layer, nn.Conv2D)
            for value in layer.parameters(include_sublayers=False)
        ]
        plan = pruner.prune_vars(dict.fromkeys(asked, RATIO), [0], apply=None)
        gone = removed(plan, keys)
        gap = narrowest_gap(pruner_name, net, gone, masters)
        plan.apply(net)
        after = costs(net)
        record.update(masters=masters, flops_before=before["flops"], params_before=before["params"])
        record["pruners"][pruner_name] = {
            "removed": gone, "flops_after": after["flops"], "params_after": after["params"], "narrowest_gap": gap,
            "logits_after": outputs(net, INPUT),
        }  # fmt: skip
    return record


def outputs(net, shape) -> list[float]:
    """First eight outputs for the input drawn with seed 0."""
    image = np.random.RandomState(0).randn(*shape).astype(np.float32)
    return net(paddle.to_tensor(image)).numpy().ravel()[:8].tolist()


def small(name):
    """A network of NETS with its drawn weights, its keys by Paddle name, and the reverse."""
    net = build(NETS[name])
    fill(net)
    net.eval()
    keys = {value.name: key for key, value in net.state_dict().items()}
    return net, keys, {key: value for value, key in keys.items()}


def case_record() -> dict[str, object]:
    """Single-variable cases on the small networks, and what happens to equal scores."""
    cases = []
    for name, variable, ratio in CASES:
        for pruner_name, pruner_class in PRUNERS.items():
            net, keys, names = small(name)
            plan = pruner_class(net, CASE_INPUT).prune_var(names[variable], 0, ratio, apply=None)
            found = {"net": name, "pruner": pruner_name, "variable": variable, "ratio": ratio}
            cases.append({**found, "removed": removed(plan, keys)})
    return {
        "command": COMMAND, "versions": versions(), "input": CASE_INPUT, "nets": NETS, "cases": cases,
        "fc_cases": fc_cases(), "ties": ties(), "sensitivity": sensitivity(),
    }  # fmt: skip


def fc_cases() -> list[dict[str, object]]:
    """Linear layers, whole or by heads."""
    found = []
    for variable, ratio, heads in FC_CASES:
        for pruner_name in ("L1NormFilterPruner", "L2NormFilterPruner"):
            net, keys, names = small("mlp")
            pruner = PRUNERS[pruner_name](net, CASE_INPUT, prune_type="fc", num_head=heads)
            plan = pruner.prune_var(names[variable], 1, ratio, apply=None)
            case = {"net": "mlp", "pruner": pruner_name, "variable": variable, "ratio": ratio, "num_head": heads}
            found.append({**case, "removed": removed(plan, keys)})
    return found


def sensitivity() -> dict[str, object]:
    """The sensitivity calls on the small networks; the metric is 1 / (1 + RMS change of the output)."""
    found = {}
    for name in ("plain", "depthwise", "residual"):
        net, keys, _ = small(name)
        image = paddle.to_tensor(np.random.RandomState(0).randn(*CASE_INPUT).astype(np.float32))
        dense = net(image).numpy()

        def metric(net=net, image=image, dense=dense):
            return float(1.0 / (1.0 + np.sqrt(((net(image).numpy() - dense) ** 2).mean())))

        pruner = L1NormFilterPruner(net, CASE_INPUT)
        with tempfile.TemporaryDirectory() as directory:
            losses = pruner.sensitive(eval_func=metric, sen_file=f"{directory}/sen.pickle", skip_vars=[])
        found[name] = {
            "losses": {
                keys[var]: {str(ratio): float(loss) for ratio, loss in by.items()} for var, by in losses.items()
            },
            "plans": [sensitive_plan(pruner, target, align, keys) for target in (0.3, 0.5) for align in (None, 4)],
        }
    return found


def sensitive_plan(pruner, target, align, keys) -> dict[str, object]:
    """The ratios for one target, and the pruned network behind them; the pruner's network is restored.

    `skip_vars` is always given: upstream appends to its own default list, which then skips variables of later networks.
    """
    ratios, _ = pruner.get_ratios_by_sensitivity(target, align=align, skip_vars=[])
    plan = pruner.sensitive_prune(target, align=align, skip_vars=[])
    result = {
        "pruned_flops": target,
        "align": align,
        "ratios": {keys[name]: float(ratio) for name, ratio in ratios.items()},
        "achieved": float(plan.pruned_flops),
        "removed": removed(plan, keys),
    }
    pruner.restore()
    return result


def ties() -> list[dict[str, object]]:
    """Filter i is a copy of filter i mod period: whole classes of equal scores."""
    found = []
    for size, period in TIES:
        layers = [["conv", 3, size, 3], ["bn", size], ["relu"], ["conv", size, 4, 1]]
        for pruner_name, pruner_class in PRUNERS.items():
            net = build(layers)
            fill(net)
            weight = draw("0.weight", net[0].weight.shape)
            net[0].weight.set_value(weight[np.arange(size) % period])
            keys = {value.name: key for key, value in net.state_dict().items()}
            plan = pruner_class(net, CASE_INPUT).prune_var(net[0].weight.name, 0, RATIO, apply=None)
            gone = removed(plan, keys)["0.weight"]["0"]
            found.append({"size": size, "period": period, "pruner": pruner_name, "ratio": RATIO, "removed": gone})
    return found


def versions() -> dict[str, str]:
    """The packages that decide the result."""
    return {name: version(name) for name in ("paddleslim", "paddlepaddle", "numpy")}


def write(path: Path, record: dict[str, object]) -> None:
    """Gzipped JSON, the same bytes on every run."""
    text = json.dumps(record, separators=(",", ":"), sort_keys=False)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    sys.stdout.write(f"{path}: {path.stat().st_size} bytes\n")


def main() -> int:
    """Write one file per network, and the small cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).resolve().parent.parent / "tests" / "data" / "paddleslim_masks"
    parser.add_argument("--out", type=Path, default=default)
    out = parser.parse_args().out
    logging.disable(logging.WARNING)
    out.mkdir(parents=True, exist_ok=True)
    write(out / "cases.json.gz", case_record())
    for name in NETWORKS:
        record = network_record(name)
        for pruner, found in record["pruners"].items():
            left = found["flops_after"]["all"] / record["flops_before"]["all"]
            sys.stdout.write(f"{name} {pruner}: FLOPs left {left:.4f}, gap {found['narrowest_gap']:.2e}\n")
        write(out / f"{name}.json.gz", record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
