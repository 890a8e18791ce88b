"""What each of several processes computes with shared batch norms: run by `paddle.distributed.launch`."""

import sys
from pathlib import Path

import numpy as np
import paddle
import paddle.distributed as dist

from ppcls_compress.engine import distributed
from ppcls_compress.engine.sync_norm import share_batch_norms

ROWS = 12


def network():
    paddle.seed(3)
    return paddle.nn.Sequential(
        paddle.nn.Conv2D(2, 4, 3), paddle.nn.BatchNorm2D(4, momentum=0.7), paddle.nn.ReLU(), paddle.nn.Conv2D(4, 3, 1),
        paddle.nn.Flatten(), paddle.nn.BatchNorm1D(48), paddle.nn.Linear(48, 2),
    )  # fmt: skip


def images():
    return np.random.default_rng(0).normal(1.0, 2.0, (ROWS, 2, 6, 6)).astype("float32")


def step(model, x, parallel=None):
    """The loss, and after a step the whole state."""
    optimizer = paddle.optimizer.SGD(0.1, parameters=model.parameters())
    found = []
    for _ in range(3):
        loss = (parallel or model)(paddle.to_tensor(x)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        found.append(float(loss))
    return found, {name: value.numpy() for name, value in model.state_dict().items()}


def main(out):
    distributed.start()
    rank, ranks = dist.get_rank(), dist.get_world_size()
    model = share_batch_norms(network())
    losses, state = step(model, images()[rank::ranks], paddle.DataParallel(model))
    np.savez(Path(out) / f"{rank}.npz", losses=losses, **state)


if __name__ == "__main__":
    main(sys.argv[1])
