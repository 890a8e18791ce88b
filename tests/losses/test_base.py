import paddle
import pytest

from ppcls_compress.losses import build_loss
from ppcls_compress.losses.base import Term, TotalLoss
from ppcls_compress.losses.cross_entropy import CELoss, cross_entropy

SCORES, LABELS = paddle.to_tensor([[1.0, 2.0, 0.5], [0.0, 0.3, 1.0]]), paddle.to_tensor([1, 0])


def test_each_term_is_told_weighted_and_the_total_is_their_sum():
    found = build_loss([CELoss(weight=2.0), CELoss(epsilon=0.1)])(SCORES, LABELS)
    assert list(found.terms) == ["CELoss", "CELoss_2"]
    assert float(found.terms["CELoss"]) == pytest.approx(2 * float(cross_entropy(SCORES, LABELS)))
    assert float(found.total) == pytest.approx(sum(float(term) for term in found.terms.values()))


def test_a_loss_of_several_numbers_has_as_many_terms():
    several = Term("Pair", 0.5, lambda output, labels, images: {"near": paddle.ones([]), "far": 3 * paddle.ones([])})
    found = TotalLoss([several, Term("near", 1.0, lambda *_: paddle.zeros([]))])(SCORES, LABELS)
    assert {name: float(term) for name, term in found.terms.items()} == {"near": 0.5, "far": 1.5, "near_2": 0.0}
    assert float(found.total) == 2.0


def test_logits_are_taken_from_named_outputs_and_the_first_label_is_the_class():
    labels = paddle.to_tensor([[1, 7], [0, 7]])
    found = build_loss([CELoss()])({"features": None, "logits": SCORES}, labels)
    assert float(found.total) == pytest.approx(float(cross_entropy(SCORES, LABELS)))


def test_what_losses_learn_is_known():
    layer = paddle.nn.Linear(3, 2)
    total = TotalLoss([Term("CELoss", 1.0, cross_entropy), Term("Centers", 1.0, layer)])
    assert total.layers() == {"Centers": layer}
    assert [id(parameter) for parameter in total.parameters()] == [id(parameter) for parameter in layer.parameters()]
