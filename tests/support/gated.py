"""A tiny network with gates, trained by meta-learning on generated images of several cameras."""

import numpy as np
import paddle

from ppcls_compress.data.continued import ContinuedLoader
from ppcls_compress.data.synthetic import SyntheticLoader
from ppcls_compress.engine.loop import Trainer
from ppcls_compress.engine.modes.metabin import Alongside, MetaBIN
from ppcls_compress.losses import LOSSES, build_loss
from ppcls_compress.models.metabin import MetaBIN as Norm
from ppcls_compress.optim.group import OptimizerGroup
from ppcls_compress.optim.scheduler import Schedule, ScheduleGroup

CAMERAS, CLASSES, IMAGES = 4, 3, 8
WEIGHT_RATE, GATE_RATE = 0.1, 0.5
BASIC = [LOSSES.get("CELossForMetaBIN")(epsilon=0.1)]
META_TRAIN = [*BASIC, LOSSES.get("IntraDomainScatterLoss")()]
META_TEST = [LOSSES.get("CELossForMetaBIN")(), LOSSES.get("TripletLossForMetaBIN")(margin=0.3)]


class Gated(paddle.nn.Layer):
    """Convolution, gated norm, ReLU, mean over places: `features`; a linear layer: `logits`."""

    def __init__(self):
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 5, 3, bias_attr=False)
        self.norm = Norm(paddle.nn.BatchNorm2D(5))
        self.drop = paddle.nn.Dropout(0.0)
        self.fc = paddle.nn.Linear(5, CLASSES)

    def forward(self, images):
        """[N, 3, H, W] to both, by name."""
        features = self.drop(paddle.nn.functional.relu(self.norm(self.conv(images))).mean(axis=[2, 3]))
        return {"features": features, "logits": self.fc(features)}


def labels(rng, count):
    """Identities, and cameras in turn."""
    return np.stack([rng.integers(CLASSES, size=count), np.arange(count) % CAMERAS], axis=1)


def gated_trainer(*, epochs=1, batches=2, lead=0, factor=lambda step: 0.3 * (1 + step), hooks=(), dropout=0.0):
    """A trainer whose weights learn by momentum and whose gates, which start at 0.4 to 0.9, by plain descent."""
    paddle.seed(5)
    model = Gated()
    model.drop.p = dropout
    gate = model.norm.gate.gate
    gate.set_value(np.linspace(0.4, 0.9, 5).astype("float32"))
    rest = [parameter for parameter in model.parameters() if parameter is not gate and not parameter.stop_gradient]
    rates = [Schedule(lambda step: WEIGHT_RATE / (1 + step)), Schedule(lambda step: GATE_RATE / (1 + step))]
    optimizers = [
        paddle.optimizer.Momentum(learning_rate=rates[0], parameters=rest),
        paddle.optimizer.SGD(learning_rate=rates[1], parameters=[gate]),
    ]
    first, second = (SyntheticLoader((3, 6, 6), labels, IMAGES, batches + 1, seed) for seed in (1, 2))
    loader = ContinuedLoader(first, batches, epochs=epochs, lead=lead)
    alongside = Alongside(ContinuedLoader(second, batches, epochs=epochs))
    return Trainer(
        model=model,
        loss=build_loss(BASIC),
        optimizer=OptimizerGroup(optimizers),
        schedule=ScheduleGroup(rates),
        loader=loader,
        epochs=epochs,
        seed=11,
        hooks=hooks,
        update=MetaBIN([gate], build_loss(META_TRAIN), build_loss(META_TEST), alongside, factor),
        leading=loader.leading(),
    )
