"""Batch norms over several processes: the same network as one process trains on all of their images."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from support import sync_norm_ranks as ranks

from ppcls_compress.engine import sync_norm
from ppcls_compress.engine.sync_norm import SharedBatchNorm, share_batch_norms
from ppcls_compress.slim import prune, quant
from ppcls_compress.slim.options import PruneOptions
from ppcls_compress.slim.quant.fold import NORMS

ROOT = Path(__file__).parents[2]


def test_each_batch_norm_is_replaced_with_its_parameters_and_statistics():
    model = ranks.network()
    parameters = {name: id(value) for name, value in model.state_dict().items()}
    share_batch_norms(model)
    assert [name for name, layer in model.named_children() if isinstance(layer, SharedBatchNorm)] == ["1", "5"]
    assert {name: id(value) for name, value in model.state_dict().items()} == parameters
    assert isinstance(model[1], NORMS)


def test_in_evaluation_it_is_an_ordinary_one():
    model, plain = share_batch_norms(ranks.network()), ranks.network()
    for network in (model, plain):
        network.eval()
    x = paddle.to_tensor(ranks.images())
    np.testing.assert_array_equal(model(x).numpy(), plain(x).numpy())


def test_one_that_is_frozen_uses_its_running_statistics_in_training(monkeypatch):
    monkeypatch.setattr(sync_norm, "world_size", lambda: 2)
    model, plain = share_batch_norms(ranks.network()), ranks.network()
    quant.freeze_batch_norms(model)
    plain.eval()
    x = paddle.to_tensor(ranks.images())
    np.testing.assert_array_equal(model(x).numpy(), plain(x).numpy())
    assert all(np.array_equal(layer._mean.numpy(), np.zeros(layer._mean.shape)) for layer in (model[1], model[5]))


def test_one_that_a_network_keeps_frozen_stays_so():
    norm = paddle.nn.BatchNorm1D(3, use_global_stats=True)
    assert share_batch_norms(paddle.nn.Sequential(norm))[0]._use_global_stats


def test_it_is_traced_and_pruned():
    model = paddle.nn.Sequential(
        paddle.nn.Conv2D(2, 8, 3), paddle.nn.BatchNorm2D(8), paddle.nn.ReLU(), paddle.nn.Conv2D(8, 3, 1)
    )
    found, _ = prune.prune(share_batch_norms(model), PruneOptions(pruned_ratio=0.5, align=1), [[1, 2, 6, 6]])
    assert found[1].weight.shape == found[1]._mean.shape == [4]
    found.train()
    assert found(paddle.ones([2, 2, 6, 6])).shape == [2, 3, 4, 4]


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_several_processes_train_as_one_does(tmp_path, count):
    launch = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", str(count), "--backend", "gloo"]
    command = [*launch, "--log_dir", str(tmp_path / "log"), ranks.__file__, str(tmp_path)]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    losses, state = ranks.step(ranks.network(), ranks.images())
    found = [dict(np.load(tmp_path / f"{rank}.npz")) for rank in range(count)]
    np.testing.assert_allclose(np.mean([one.pop("losses") for one in found], axis=0), losses, rtol=1e-5)
    for name, value in state.items():
        for one in found:
            np.testing.assert_allclose(one[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
        assert all(np.array_equal(one[name], found[0][name]) for one in found), name
