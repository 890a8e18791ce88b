import numpy as np
import pytest

from ppcls_compress.errors import UserError
from ppcls_compress.metrics import Metrics
from ppcls_compress.metrics.distilled import DistillationTopkAcc

LABELS = np.array([0, 1, 2, 1])
RIGHT = np.eye(3)[LABELS]
WRONG = np.eye(3)[(LABELS + 1) % 3]


def measured(output, **options):
    metrics = Metrics([DistillationTopkAcc(topk=1, **options)])
    return metrics.measure([metrics.keep(output, LABELS)])["top1"]


def test_the_named_network_is_judged():
    output = {"Student": WRONG, "Teacher": RIGHT}
    assert measured(output, model_key="Student") == 0
    assert measured(output, model_key="Teacher") == 1


def test_a_named_tensor_of_it_is_judged():
    output = {"Student": {"logits": RIGHT, "other": WRONG}}
    assert measured(output, model_key="Student") == 1
    assert measured(output, model_key="Student", feature_key="other") == 0
    with pytest.raises(UserError, match="no output 'third'; it gives logits, other"):
        measured(output, model_key="Student", feature_key="third")


def test_the_network_that_is_deployed_answers_alone():
    assert measured(RIGHT, model_key="Student") == 1
