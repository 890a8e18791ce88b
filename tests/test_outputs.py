import numpy as np
import paddle
import pytest

from ppcls_compress.errors import UserError
from ppcls_compress.outputs import attributes, class_labels, identities, logits_of, mapped, part, unit

OUTPUT = {"features": np.ones((2, 3)), "logits": np.zeros((2, 5)), "neck": None}


@pytest.mark.parametrize("output", [OUTPUT["logits"], OUTPUT, [OUTPUT["logits"], np.ones((2, 5))]])
def test_logits_are_the_tensor_the_part_of_that_name_or_the_first_of_a_list(output):
    assert logits_of(output) is OUTPUT["logits"]


@pytest.mark.parametrize("name", ["neck", "backbone"])
def test_a_part_that_is_not_there_or_none_is_told(name):
    with pytest.raises(UserError, match=f"no output '{name}'; it gives features, logits, neck"):
        part(OUTPUT, name)


def test_a_tensor_has_no_parts():
    with pytest.raises(UserError, match="'features'; it gives one tensor without a name"):
        part(np.ones(3), "features")


def test_outputs_of_several_networks_keep_their_structure():
    output = {"Student": OUTPUT, "Teacher": [np.ones((2, 4))]}
    assert mapped(np.shape, output) == {
        "Student": {"features": (2, 3), "logits": (2, 5), "neck": None},
        "Teacher": [(2, 4)],
    }


@pytest.mark.parametrize("make", [np.array, paddle.to_tensor])
def test_the_identity_is_the_first_of_several_labels(make):
    assert identities(make([[3, 0], [4, 1]])).tolist() == identities(make([3, 4])).tolist() == [3, 4]


def test_mixed_labels_have_no_identity_but_stay_class_labels():
    mixed = paddle.to_tensor([[0.3, 0.7]])
    with pytest.raises(UserError, match="one class for each image"):
        identities(mixed)
    assert class_labels(mixed) is mixed


def test_lengths_become_one_and_zero_stays_zero_with_a_gradient_that_is_a_number():
    rows = paddle.to_tensor([[3.0, 4.0], [0.0, 0.0]], stop_gradient=False)
    found = unit(rows)
    assert found.numpy() == pytest.approx(np.array([[0.6, 0.8], [0.0, 0.0]]))
    found.sum().backward()
    assert np.isfinite(rows.grad.numpy()).all()


@pytest.mark.parametrize("make", [np.array, paddle.to_tensor])
def test_labels_of_attributes_may_come_with_their_shares(make):
    labels = np.array([[[1.0, 0.0], [0.25, 0.5]], [[0.0, -1.0], [0.25, 0.5]]], np.float32)
    first, shares = attributes(make(labels))
    assert (first.tolist(), shares.tolist()) == ([[1, 0], [0, -1]], [[0.25, 0.5], [0.25, 0.5]])
    alone, none = attributes(make(labels[:, 0]))
    assert (alone.tolist(), none) == ([[1, 0], [0, -1]], None)
    with pytest.raises(UserError, match="a label for each attribute"):
        attributes(make([0, 1]))
