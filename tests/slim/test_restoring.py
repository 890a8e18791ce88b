import numpy as np
import paddle
import pytest

from ppcls_compress.errors import UserError
from ppcls_compress.slim import recipe
from ppcls_compress.slim.options import PruneOptions, QuantOptions, SlimOptions
from ppcls_compress.slim.options.prune import IterativeOptions
from ppcls_compress.slim.restoring import put_back_on_failure

SHAPE = [2, 3, 8, 8]
PRUNE = PruneOptions(name="l1_norm", pruned_ratio=0.5)


class Net(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv = paddle.nn.utils.weight_norm(paddle.nn.Conv2D(3, 8, 3, padding=1))
        self.body = paddle.nn.Sequential(paddle.nn.Conv2D(8, 8, 3), paddle.nn.BatchNorm2D(8), paddle.nn.ReLU())
        self.head = paddle.nn.Linear(8, 4)
        self.seen = [1]

    def forward(self, images):
        return self.head(self.body(self.conv(images)).mean(axis=[2, 3]))


def batch(seed=0):
    return paddle.to_tensor(np.random.default_rng(seed).standard_normal(SHAPE, np.float32))


def state(network):
    """All that a network is: its classes, hooks, attributes of its layers, and numbers."""
    layers = dict(network.named_sublayers(include_self=True))
    plain = {
        f"{path}.{name}": repr(value)
        for path, layer in layers.items()
        for name, value in vars(layer).items()
        if isinstance(value, int | str | list | tuple | bool | None)
    }
    kinds = {path: type(layer) for path, layer in layers.items()}
    hooks = {
        path: [*layer._forward_pre_hooks.values(), *layer._forward_post_hooks.values()]
        for path, layer in layers.items()
    }
    numbers = {name: value.numpy().tobytes() for name, value in network.state_dict().items()}
    named = {name: (id(value), value.shape, value.stop_gradient) for name, value in network.named_parameters()}
    return kinds, hooks, plain, numbers, named


@pytest.fixture
def network():
    paddle.seed(0)
    return Net()


def change_everything(network):
    paddle.nn.utils.remove_weight_norm(network.conv)
    network.body[0] = paddle.nn.Conv2D(8, 2, 1)
    network.extra = paddle.nn.Linear(1, 1)
    network.seen.append(2)
    network.body[1](paddle.rand([2, 8, 4, 4]))
    network.head.weight.set_value(network.head.weight * 2)
    network.head.weight.clear_gradient(set_to_zero=False)
    network.head.bias.stop_gradient = True
    network.eval()
    raise KeyError("late")


def test_layers_hooks_attributes_and_numbers_are_as_before(network):
    network(batch()).sum().backward()
    gradient, kept = network.head.weight.grad.numpy(), network.conv.weight_g
    handle = network.head.register_forward_pre_hook(lambda layer, given: None)
    before = state(network)
    with pytest.raises(KeyError), put_back_on_failure(network):
        change_everything(network)
    assert state(network) == before
    handle.remove()  # which knows the dict that its hook is in
    assert not network.head._forward_pre_hooks
    assert network.conv.weight_g is kept
    np.testing.assert_array_equal(network.head.weight.grad.numpy(), gradient)
    network(batch()).sum().backward()  # which adds to what was there
    np.testing.assert_allclose(network.head.weight.grad.numpy(), 2 * gradient, rtol=1e-5)


def test_what_succeeds_stays(network):
    with put_back_on_failure(network):
        network.seen.append(2)
        network.head.bias.set_value(paddle.ones([4]))
    assert network.seen == [1, 2]
    assert network.head.bias.numpy().tolist() == [1, 1, 1, 1]


def failing_after(count):
    def batches():
        for _ in range(count):
            yield batch()
        raise UserError("the disk is gone")

    return batches


@pytest.mark.parametrize("prune", [None, PRUNE], ids=["quant", "both"])
@pytest.mark.parametrize("fuse", [False, True])
def test_a_quantization_that_fails_leaves_the_network_whole(network, prune, fuse):
    network.eval()
    given = network(batch()).numpy()
    before = state(network)
    quant = QuantOptions(name="pact", fuse_conv_bn=fuse)
    context = recipe.Context(failing_after(2), calibration_batches=4)
    with pytest.raises(UserError, match="the disk is gone"):
        recipe.compress(network, SlimOptions(prune=prune, quant=quant), [[1, *SHAPE[1:]]], context=context)
    assert state(network) == before
    np.testing.assert_array_equal(network(batch()).numpy(), given)
    _, record = recipe.compress(network, SlimOptions(prune=PRUNE), [[1, *SHAPE[1:]]])
    assert record["steps"][0]["before"]["params"] > record["steps"][0]["after"]["params"]


def test_an_iteration_that_fails_undoes_those_before_and_their_training(network):
    before, seen = state(network), []

    def train(model, record):
        seen.append(len(record["steps"]))
        if len(seen) == 2:
            raise UserError("the loss is no number")
        optimizer = paddle.optimizer.SGD(0.1, parameters=model.parameters())
        model(batch()).square().sum().backward()
        optimizer.step()

    options = PruneOptions(name="l1_norm", pruned_ratio=0.6, iterative=IterativeOptions(steps=3))
    with pytest.raises(UserError, match="no number"):
        recipe.compress(network, SlimOptions(prune=options), [[1, *SHAPE[1:]]], context=recipe.Context(train=train))
    assert seen == [1, 2]
    assert state(network) == before
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("quant", "batches", "text"),
    [
        ({"skip": ["haed"]}, [batch()], "Slim.quant.skip: unknown layer 'haed'; did you mean 'head'?"),
        ({}, [], "calibration needs at least one batch, found none"),
        ({}, [paddle.zeros([2, 4, 8, 8])], "calibration on a batch of"),
    ],
)
def test_what_cannot_be_quantized_is_known_before_anything_is_cut_or_trained(network, quant, batches, text):
    options = PruneOptions(name="l1_norm", pruned_ratio=0.6, iterative=IterativeOptions(steps=2))
    slim, before = SlimOptions(prune=options, quant=QuantOptions.from_dict({"name": "pact", **quant})), state(network)
    trained = []
    context = recipe.Context(lambda: batches, train=lambda model, record: trained.append(record))
    with pytest.raises(UserError) as told:
        recipe.compress(network, slim, [[1, *SHAPE[1:]]], context=context)
    assert text in str(told.value)
    assert trained == []
    assert state(network) == before


def test_the_batch_that_is_looked_at_first_is_calibrated_on_too(network):
    given = iter([batch(0), batch(1)])
    slim = SlimOptions(prune=PRUNE, quant=QuantOptions(name="pact"))
    with_both, _ = recipe.compress(network, slim, [[1, *SHAPE[1:]]], context=recipe.Context(lambda: given))
    paddle.seed(0)
    known = recipe.Context(lambda: [batch(0), batch(1)])
    other, _ = recipe.compress(Net(), slim, [[1, *SHAPE[1:]]], context=known)
    for name, value in with_both.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), other.state_dict()[name].numpy(), err_msg=name)


def test_statistics_are_not_renewed_on_what_the_network_does_not_take(network):
    before = state(network)
    options = SlimOptions(prune=PruneOptions(name="l1_norm", pruned_ratio=0.5, bn_recalibration=1))
    context = recipe.Context(lambda: [paddle.zeros([2, 4, 8, 8])])
    with pytest.raises(UserError, match=r"bn_recalibration on a batch of .* conv \(Conv2D\) fails"):
        recipe.compress(network, options, [[1, *SHAPE[1:]]], context=context)
    assert state(network) == before
