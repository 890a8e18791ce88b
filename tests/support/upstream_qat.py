"""A network quantized as PaddleSlim's QAT does it, by the class of Paddle's that it hands over to."""

from __future__ import annotations

import numpy as np
import paddle
from paddle.quantization import ImperativeQuantAware
from support import quantizing

nn = paddle.nn
IMAGES = paddle.to_tensor(np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype("float32"))
LABELS = paddle.to_tensor([0, 1, 2, 0])


def network() -> nn.Layer:
    paddle.seed(5)
    return nn.Sequential(
        nn.Conv2D(3, 6, 3), nn.BatchNorm2D(6), nn.ReLU(), nn.Conv2D(6, 4, 3), nn.Flatten(), nn.Linear(64, 3)
    )


def train(model: nn.Layer, steps: int = 4, rate: float = 0.01) -> None:
    optimizer = paddle.optimizer.SGD(rate, parameters=model.parameters())
    quantizing.train(model, IMAGES, LABELS, optimizer, steps)


class UpstreamPact(nn.Layer):
    """The formula that PaddleSlim documents, with a range that binds."""

    def __init__(self):
        super().__init__()
        start = nn.initializer.Constant(1.0)
        self.alpha = self.create_parameter([1], default_initializer=start)

    def forward(self, x):
        return x - nn.functional.relu(x - self.alpha) + nn.functional.relu(-self.alpha - x)


def upstream(act_preprocess=None, **options) -> nn.Layer:
    """What PaddleSlim's QAT makes: it hands over to this class of Paddle's."""
    model = network()
    ImperativeQuantAware(
        weight_quantize_type=options.pop("weight_quantize_type", "channel_wise_abs_max"),
        quantizable_layer_type=["Conv2D", "Linear"],
        act_preprocess_layer=act_preprocess,
        onnx_format=True,
        **options,
    ).quantize(model)
    return model
