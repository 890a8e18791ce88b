import paddle
import pytest

from ppcls_compress import models
from ppcls_compress.engine.forward import check_takes
from ppcls_compress.errors import ConfigError


def refused(network, shape, **options):
    with pytest.raises(ConfigError) as error:
        check_takes(network, shape, **{"class_num": 10, "who": "Arch.name X", **options})
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("LeNet", [3, 28, 28], "layer features.0 (Conv2D) was given [1, 3, 28, 28] and takes 1 channels; do this"),
        (
            "LeNet",
            [1, 32, 32],
            "layer fc.0 (Linear) was given [1, 576] and takes 400 features: the network is made for",
        ),
        ("alexnet", [3, 64, 64], "and takes 9216 features: the network is made for images of another size"),
        (
            "alexnet",
            [3, 16, 16],
            "was given [1, 192, 1, 1] and makes [1, 192, 0, 0] of it: the image is too small for this network",
        ),
        ("CIFARResNet8", [1, 28, 28], "was given [1, 1, 28, 28] and takes 3 channels; do this"),
        ("MobileNetV3_small_x0_35", [4, 32, 32], "was given [1, 4, 32, 32] and takes 3 channels; do this"),
        ("squeezenet1_0", [3, 16, 16], "the image is too small for this network"),  # the mean of no pixel is NaN
    ],
)
def test_a_network_that_does_not_take_the_images_says_where(name, shape, expected):
    message = refused(models.build(name, class_num=10), shape, advice="do this")
    assert message.startswith(f"Global.image_shape: Arch.name X does not take images of {shape}: layer ")
    if paddle.__version__.startswith("3.0.") and expected.endswith("too small for this network"):
        expected = "the image is too small for this network"  # there Paddle itself refuses to pool it
    assert expected in message


class Own(paddle.nn.Layer):
    def forward(self, images):
        return images.reshape([2, -1, 77])


def test_a_failure_outside_of_every_layer_and_what_is_no_logits():
    assert "[1, 3, 8, 8]: its own forward method fails: " in refused(Own(), [3, 8, 8]).replace("[3,", "[1, 3,")
    assert "it gives [1, 4, 6, 6], not logits [1, 10]" in refused(paddle.nn.Conv2D(3, 4, 3), [3, 8, 8])
    assert "it gives [1, 9], not logits [1, 10]" in refused(models.build("LeNet", class_num=9), [1, 28, 28])


def test_a_network_that_takes_them_is_left_as_it_was():
    network = models.build("CIFARResNet8", class_num=10)
    before = {name: value.numpy().copy() for name, value in network.state_dict().items()}
    check_takes(network, [3, 9, 7], class_num=10, who="Arch.name X")
    assert network.training
    assert all((value.numpy() == before[name]).all() for name, value in network.state_dict().items())
    assert not any(layer._forward_pre_hooks or layer._forward_post_hooks for layer in network.sublayers())
    network.eval()
    check_takes(network, [3, 9, 7], class_num=10, who="Arch.name X")
    assert not network.training
