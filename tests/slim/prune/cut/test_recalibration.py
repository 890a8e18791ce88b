import numpy as np
import paddle
import pytest

from ppcls_compress.errors import UserError
from ppcls_compress.slim.prune import recalibrate


def network():
    paddle.seed(0)
    return paddle.nn.Sequential(
        paddle.nn.Conv2D(3, 4, 1), paddle.nn.BatchNorm2D(4), paddle.nn.Dropout(0.9), paddle.nn.BatchNorm(4)
    )


def batches():
    rng = np.random.default_rng(0)
    return [paddle.to_tensor(rng.standard_normal((8, 3, 5, 5), np.float32) + shift) for shift in (0, 1, 5)]


def test_statistics_become_the_average_over_the_batches():
    model = network()
    assert recalibrate(model, batches()) == 2
    outputs = [model[0](batch).numpy() for batch in batches()]
    means = np.mean([output.mean((0, 2, 3)) for output in outputs], axis=0)
    np.testing.assert_allclose(model[1]._mean.numpy(), means, rtol=1e-4, atol=1e-5)
    variances = np.mean([output.var((0, 2, 3)) for output in outputs], axis=0)
    np.testing.assert_allclose(model[1]._variance.numpy(), variances, rtol=0.05)


def test_nothing_else_changes():
    model = network()
    model[1].eval()
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    momenta = [model[1]._momentum, model[3]._momentum]
    recalibrate(model, batches())
    assert [model[1]._momentum, model[3]._momentum] == momenta
    assert (model[1].training, model[2].training) == (False, True)
    changed = [name for name, value in model.state_dict().items() if not np.array_equal(value.numpy(), before[name])]
    assert sorted(changed) == ["1._mean", "1._variance", "3._mean", "3._variance"]


def test_no_batch_is_refused():
    with pytest.raises(UserError, match="at least one batch"):
        recalibrate(network(), [])
