"""A trainer over a tiny network and generated batches, for tests of the loop and its hooks."""

import numpy as np
import paddle

from ppcls_compress.data import synthetic_loader
from ppcls_compress.engine.loop import Trainer
from ppcls_compress.losses import build_loss
from ppcls_compress.losses.cross_entropy import CELoss
from ppcls_compress.optim.build import Schedule

SHAPE = (3, 4, 4)


def tiny_network():
    return paddle.nn.Sequential(
        paddle.nn.Conv2D(3, 4, 3),
        paddle.nn.BatchNorm2D(4),
        paddle.nn.Flatten(),
        paddle.nn.Dropout(0.5),
        paddle.nn.Linear(16, 5),
    )


def tiny_trainer(*, epochs=3, hooks=(), batches=4, accumulate=1, optimizer="Momentum", rate=0.05, build=tiny_network):
    paddle.seed(7)
    model = build()
    schedule = Schedule(lambda step: rate / (1 + step))
    built = getattr(paddle.optimizer, optimizer)(learning_rate=schedule, parameters=model.parameters())
    loader = synthetic_loader(SHAPE, class_num=5, batch_size=6, steps=batches, seed=3)
    return Trainer(
        model=model,
        loss=build_loss([CELoss()]),
        optimizer=built,
        schedule=schedule,
        loader=loader,
        epochs=epochs,
        hooks=hooks,
        seed=11,
        accumulate=accumulate,
    )


def weights(trainer):
    return {name: value.numpy().copy() for name, value in trainer.model.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)
