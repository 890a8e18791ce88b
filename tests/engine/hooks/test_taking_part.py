import paddle
import pytest
from support.training import tiny_network, tiny_trainer

from ppcls_compress.engine.hooks.taking_part import TakingPart
from ppcls_compress.errors import UserError


class Aside(paddle.nn.Layer):
    """Gives scores, and beside them what no loss reads."""

    def __init__(self, frozen):
        super().__init__()
        self.body, self.aside = tiny_network(), paddle.nn.Linear(5, 2)
        for parameter in self.aside.parameters():
            parameter.stop_gradient = frozen

    def forward(self, images):
        logits = self.body(images)
        return {"logits": logits, "other": self.aside(logits)}


def test_a_part_that_no_loss_reads_is_told():
    trainer = tiny_trainer(hooks=[TakingPart()], build=lambda: Aside(frozen=False))
    with pytest.raises(UserError, match=r"no loss of Loss\.Train reads what aside\.weight, aside\.bias compute"):
        trainer.run()
    assert trainer.progress.step == 0


def test_a_frozen_part_needs_no_gradient():
    assert tiny_trainer(hooks=[TakingPart()], build=lambda: Aside(frozen=True), accumulate=2).run().epoch == 3
