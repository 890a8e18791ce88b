import paddle
import pytest
from paddle import nn
from paddle.vision import models

from ppcls_compress.errors import UserError
from ppcls_compress.slim import dygraph_flops
from ppcls_compress.slim.cost import count


def test_multiply_adds_of_known_layers():
    net = nn.Sequential(
        nn.Conv2D(3, 8, 3, padding=1),
        nn.Conv2D(8, 8, 3, stride=2, padding=1, groups=8),
        nn.Conv2D(8, 16, 1, groups=2),
        nn.Conv2DTranspose(16, 4, 2, stride=2),
        nn.Flatten(),
        nn.Linear(4 * 64, 5),
    )
    cost = count(net, [[1, 3, 8, 8]])
    assert [(layer.name, layer.flops) for layer in cost.layers] == [
        ("0", 8 * 3 * 9 * 64),
        ("1", 8 * 9 * 16),
        ("2", 16 * 4 * 16),
        ("3", 16 * 4 * 4 * 16),
        ("5", 4 * 64 * 5),
    ]
    assert cost.flops == sum(layer.flops for layer in cost.layers)
    assert cost.params == sum(p.size for p in net.parameters())


def test_published_figure_of_resnet50():
    cost = count(models.resnet50(), [1, 3, 224, 224])
    assert cost.flops == 4_089_184_256
    assert cost.params == 25_557_032


def test_functional_calls_and_products_of_activations_count():
    class Attention(nn.Layer):
        def __init__(self):
            super().__init__()
            self.weight = self.create_parameter([6, 6])

        def forward(self, x):
            y = x @ self.weight
            return paddle.matmul(y, y, transpose_y=True)

    assert [layer.flops for layer in count(Attention(), [[1, 4, 6]]).layers] == [4 * 6 * 6, 4 * 4 * 6]


def test_the_model_is_left_alone_and_a_failing_forward_is_reported():
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm2D(8))
    net[0].eval()
    with pytest.raises(UserError, match=r"the network's forward pass fails on inputs \[\[1, 3, 8, 8\]\]"):
        count(net, [[1, 3, 8, 8]])
    assert (net.training, net[0].training, net[1].training) == (True, False, True)


def test_paddleslims_count_with_details():
    net = nn.Sequential(
        nn.Conv2D(3, 8, 3, padding=1),
        nn.BatchNorm2D(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2D(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )
    conv, linear = 8 * 27 * 64, 8 * 5
    assert dygraph_flops(net, [1, 3, 8, 8], only_conv=True) == conv + linear
    total, details = dygraph_flops(net, [[1, 3, 8, 8]], dtypes=["float32"], detail=True)
    assert total == conv + linear + 2 * 512 + 512 + 2 * 8
    assert details == {net[0].weight.name: conv, net[5].weight.name: linear}
