import numpy as np
import pytest
from support.training import tiny_trainer

from ppcls_compress.engine.hooks.base import Hook
from ppcls_compress.engine.hooks.checkpoints import Checkpoints
from ppcls_compress.engine.hooks.nan_guard import NanGuard
from ppcls_compress.errors import UserError
from ppcls_compress.slim.recipe import empty_record


class Spoil(Hook):
    """Puts NaN into the convolution's weight in the second epoch."""

    def before_epoch(self, trainer):
        if trainer.progress.epoch == 1:
            trainer.model[0].weight.set_value(np.full(trainer.model[0].weight.shape, np.nan, "float32"))


@pytest.mark.parametrize("every", [1, 100])
def test_the_run_stops_names_the_layer_and_keeps_the_last_checkpoint(tmp_path, every):
    hooks = [Spoil(), NanGuard(every), Checkpoints(tmp_path, empty_record(), 1)]
    with pytest.raises(
        UserError, match=r"stopped in epoch 2.*first layer with such values: 0 \(its parameter weight\)"
    ):
        tiny_trainer(hooks=hooks).run()
    assert {path.name for path in tmp_path.glob("epoch_*.pdparams")} == {"epoch_1.pdparams"}


def test_a_healthy_run_goes_through():
    assert tiny_trainer(epochs=2, hooks=[NanGuard(1)]).run().epoch == 2
