"""What is frozen while a quantized network trains."""

import paddle

from ppcls_compress.slim import quant


def test_norms_of_vectors_are_frozen_too():
    norm = paddle.nn.BatchNorm1D(3)
    quant.freeze_batch_norms(norm)
    norm(paddle.ones([2, 3]))
    assert not norm._mean.any()


def test_synchronised_norms_are_frozen_by_their_mode_which_is_all_that_they_ask_for():
    norm = paddle.nn.SyncBatchNorm(3)
    quant.freeze_batch_norms(norm)
    assert not norm.training
    quant.freeze_batch_norms(norm, False)
    assert norm.training
