"""The three parts of a step against algorithm 1 of the paper, written out for a tiny network."""

import signal

import numpy as np
import paddle
import pytest
from support.gated import (
    BASIC,
    GATE_RATE,
    META_TEST,
    META_TRAIN,
    WEIGHT_RATE,
    gated_trainer,
    labels,
)
from support.training import same, weights

from ppcls_compress import io
from ppcls_compress.data.synthetic import SyntheticLoader
from ppcls_compress.engine import checkpoint
from ppcls_compress.engine.hooks.base import Hook
from ppcls_compress.engine.hooks.checkpoints import Checkpoints
from ppcls_compress.engine.modes.metabin import split_by_camera
from ppcls_compress.errors import UserError
from ppcls_compress.losses import build_loss
from ppcls_compress.slim.recipe import empty_record
from ppcls_compress.stopping import Request, Terminated

GATE = "norm.gate.gate"
STATISTICS = ("norm.batch_norm._mean", "norm.batch_norm._variance")


def forward(state, images, gate):
    """The network as a function of its parameters; the mean and variance over the batch come along."""
    x = paddle.nn.functional.conv2d(images, state["conv.weight"])
    mean, variance = x.mean(axis=[0, 2, 3]), x.var(axis=[0, 2, 3], unbiased=False)

    def standard(mean, variance):
        return (x - mean) / (variance + 1e-5).sqrt()

    def along(vector):
        return vector.reshape([1, -1, 1, 1])

    over_batch = standard(along(mean), along(variance)) * along(state["norm.batch_norm.weight"])
    over_batch += along(state["norm.batch_norm.bias"])
    one = standard(x.mean(axis=[2, 3], keepdim=True), x.var(axis=[2, 3], unbiased=False, keepdim=True))
    over_image = one * along(state["norm.instance_norm.scale"]) + along(state["norm.instance_norm.bias"])
    mixed = over_batch * along(gate) + over_image * (1 - along(gate))
    features = paddle.nn.functional.relu(mixed).mean(axis=[2, 3])
    return {"features": features, "logits": features @ state["fc.weight"] + state["fc.bias"]}, mean, variance


def cost(entries, state, batch, gate):
    images, targets = batch
    output, *statistics = forward(state, images, gate)
    return build_loss(entries)(output, targets, images).total, statistics


def batches_of(seed, count):
    return list(SyntheticLoader((3, 6, 6), labels, 8, count, seed))


def reference(trainer, *, steps, factor):
    """The state after so many steps by hand, from that of an untrained trainer."""
    state = {name: paddle.to_tensor(value) for name, value in weights(trainer).items()}
    learned = [name for name, _ in trainer.model.named_parameters() if name not in (GATE, *STATISTICS)]
    velocity = dict.fromkeys(learned, 0.0)
    for step, (basic, meta) in enumerate(zip(batches_of(1, steps), batches_of(2, steps), strict=True)):
        for name in learned:
            state[name].stop_gradient = False
        total, (mean, variance) = cost(BASIC, state, basic, state[GATE])
        slopes = paddle.grad(total, [state[name] for name in learned])
        for name, slope in zip(learned, slopes, strict=True):
            velocity[name] = 0.9 * velocity[name] + slope
            state[name] = (state[name] - WEIGHT_RATE / (1 + step) * velocity[name]).detach()
        for name, value in zip(STATISTICS, (mean, variance), strict=True):
            state[name] = 0.9 * state[name] + 0.1 * value.detach()
        train, test = split_by_camera(meta, np.random.default_rng([11, 0, step]))
        rate = GATE_RATE / (1 + step)
        gate = paddle.to_tensor(state[GATE].numpy(), stop_gradient=False)
        (slope,) = paddle.grad(cost(META_TRAIN, state, train, gate)[0], [gate])
        moved = (gate - rate * factor(step) * slope.detach()).clip(0, 1)
        (slope,) = paddle.grad(cost(META_TEST, state, test, moved)[0], [gate])
        state[GATE] = (gate - rate * slope).clip(0, 1).detach()
    return {name: value.numpy() for name, value in state.items()}


@pytest.mark.parametrize("size", [0.3, 200.0])
def test_steps_are_those_of_the_algorithm(size):
    """With a large factor gates are moved to both bounds, beyond which their derivative is none."""

    def factor(step):
        return size * (1 + step)

    trainer = gated_trainer(batches=3, factor=factor)
    start, expected = weights(trainer), reference(trainer, steps=3, factor=factor)
    trainer.run()
    found = weights(trainer)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert np.abs(value - start[name]).max() > 1e-4, name
        np.testing.assert_allclose(value, expected[name], rtol=2e-4, atol=2e-6, err_msg=name)


def test_weights_alone_move_in_the_first_part_and_gates_alone_in_the_others():
    trainer = gated_trainer()
    images, targets = batches_of(1, 1)[0]
    start = weights(trainer)
    trainer.loss(trainer.model(images), targets, images).total.backward()
    trainer.update.step(trainer)
    middle = weights(trainer)
    assert {name for name in start if not np.array_equal(start[name], middle[name])} == set(start) - {GATE}
    terms = trainer.update.further(trainer, 0)
    end = weights(trainer)
    assert {name for name in start if not np.array_equal(middle[name], end[name])} == {GATE}
    assert list(terms) == [
        *("MetaTrain.CELossForMetaBIN", "MetaTrain.IntraDomainScatterLoss"),
        *("MetaTest.CELossForMetaBIN", "MetaTest.TripletLossForMetaBIN"),
    ]
    assert all(parameter.grad is None for parameter in trainer.model.parameters())


def test_gates_stay_between_the_norms():
    trainer = gated_trainer(batches=1, factor=lambda step: 0.0)
    trainer.update.gates[0].optimize_attr["learning_rate"] = 1e6
    trainer.run()
    assert set(trainer.update.gates[0].tolist()) == {0.0, 1.0}


def test_warming_up_takes_batches_of_its_own_and_moves_no_rate_and_no_gate():
    seen = []

    class Look(Hook):
        def after_backward(self, trainer, batch):
            seen.append((batch.images, weights(trainer), trainer.optimizer.get_lr()))

    trainer = gated_trainer(batches=2, lead=2, hooks=[Look()])
    start = weights(trainer)
    trainer.run()
    assert np.array_equal(seen[0][0], batches_of(1, 3)[2][0])
    assert np.array_equal(seen[0][1][GATE], start[GATE])
    assert not np.array_equal(seen[0][1]["fc.weight"], start["fc.weight"])
    assert [rate for _, _, rate in seen] == [WEIGHT_RATE, WEIGHT_RATE / 2]
    assert trainer.progress.step == 2


class StopAfter(Hook):
    def __init__(self, batches, request):
        self.left, self.request = batches, request

    def after_batch(self, trainer, batch):
        self.left -= 1
        if not self.left:
            self.request.number = signal.SIGTERM


@pytest.mark.parametrize("after", [1, 3, 4])
def test_stopped_after_any_batch_it_ends_with_the_same_weights(tmp_path, after):
    settings = {"epochs": 2, "batches": 3, "lead": 2, "dropout": 0.3}
    whole = gated_trainer(**settings)
    whole.run()
    request = Request()
    hooks = [StopAfter(after, request), Checkpoints(tmp_path, empty_record(), 1, request=request)]
    with pytest.raises(Terminated):
        gated_trainer(hooks=hooks, **settings).run()
    second = gated_trainer(**settings)
    state = io.read_state(f"{tmp_path}/latest.pdparams")
    second.model.set_state_dict({name: paddle.to_tensor(value) for name, value in state.items()})
    checkpoint.restore(tmp_path / "latest", second)
    assert second.progress.step == after
    second.run()
    assert same(weights(whole), weights(second))


def test_half_of_the_cameras_that_a_batch_has_are_trained_on():
    images = paddle.arange(10, dtype="float32").reshape([10, 1, 1, 1])
    seen = np.array([9, 4, 4, 1, 7, 7, 7, 0, 0, 9])
    batch = images, paddle.to_tensor(np.stack([np.arange(10), seen], axis=1))
    halves = set()
    for seed in range(40):
        (first, of_first), (second, of_second) = split_by_camera(batch, np.random.default_rng(seed))
        chosen, others = (set(part[:, 1].tolist()) for part in (of_first, of_second))
        assert (len(chosen), len(others), chosen & others) == (2, 3, set())
        for part, its_labels in ((first, of_first), (second, of_second)):
            assert part.flatten().tolist() == its_labels[:, 0].tolist()
        assert sorted(first.flatten().tolist() + second.flatten().tolist()) == list(range(10))
        halves.add(frozenset(chosen))
    assert len(halves) == 10  # of five cameras, each pair


def test_a_batch_of_one_camera_names_the_sampler():
    batch = paddle.zeros([2, 3, 4, 4]), paddle.to_tensor([[0, 3], [1, 3]])
    with pytest.raises(UserError, match=r"^DataLoader.Metalearning.Train.sampler: all 2 .* camera 3.*DomainShuffle"):
        split_by_camera(batch, np.random.default_rng(0))
