import math

import pytest
from pydantic import TypeAdapter

from ppcls_compress.declare import named
from ppcls_compress.optim.build import build_schedule
from ppcls_compress.optim.schedules import SCHEDULES


def rates(options, epochs=10, steps_per_epoch=4, count=None):
    config = TypeAdapter(named(SCHEDULES)).validate_python(options)
    schedule = build_schedule(config, epochs=epochs, steps_per_epoch=steps_per_epoch)
    found = []
    for _ in range(count or epochs * steps_per_epoch):
        found.append(schedule.get_lr())
        schedule.step()
    return found


def test_cosine_starts_at_the_rate_and_ends_at_eta_min():
    found = rates({"name": "Cosine", "learning_rate": 0.1, "eta_min": 0.01}, count=41)
    assert found[0] == pytest.approx(0.1)
    assert found[20] == pytest.approx(0.055)
    assert found[40] == pytest.approx(0.01)
    assert found[10] == pytest.approx(0.01 + 0.09 * (1 + math.cos(math.pi / 4)) / 2)


def test_warm_up_is_linear_and_cosine_covers_the_rest():
    found = rates({"name": "Cosine", "learning_rate": 0.1, "warmup_epoch": 2, "warmup_start_lr": 0.02}, count=41)
    assert found[:8] == pytest.approx([0.02 + 0.08 * step / 8 for step in range(8)])
    assert found[8] == pytest.approx(0.1)
    assert found[24] == pytest.approx(0.05)
    assert found[40] == pytest.approx(0.0, abs=1e-12)


def test_piecewise_steps_and_multi_step_change_at_their_epochs():
    piecewise = rates({"name": "Piecewise", "decay_epochs": [3, 6], "values": [0.1, 0.01, 0.001]})
    assert [piecewise[index] for index in (0, 11, 12, 23, 24, 39)] == [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    step = rates({"name": "Step", "learning_rate": 1.0, "step_size": 4, "gamma": 0.5})
    assert [step[index] for index in (15, 16, 32)] == [1.0, 0.5, 0.25]
    multi = rates({"name": "MultiStepDecay", "learning_rate": 1.0, "milestones": [2, 5], "gamma": 0.1})
    assert [multi[index] for index in (7, 8, 20)] == pytest.approx([1.0, 0.1, 0.01])


def test_by_epoch_keeps_the_rate_within_an_epoch():
    found = rates({"name": "Cosine", "learning_rate": 0.1, "by_epoch": True})
    assert len(set(found)) == 10
    assert found[4] == found[7] != found[8]


def test_a_restored_schedule_goes_on():
    config = TypeAdapter(named(SCHEDULES)).validate_python({"name": "Cosine", "learning_rate": 0.1})
    first, second = (build_schedule(config, epochs=10, steps_per_epoch=4) for _ in range(2))
    for _ in range(17):
        first.step()
    second.set_state_dict(first.state_dict())
    first.step()
    second.step()
    assert second.get_lr() == first.get_lr() != 0.1


def test_a_restored_schedule_goes_on_at_its_own_rate():
    first, second = (
        build_schedule(
            TypeAdapter(named(SCHEDULES)).validate_python({"name": "Constant", "learning_rate": rate}),
            epochs=2,
            steps_per_epoch=4,
        )
        for rate in (1.0, 0.1)
    )
    first.step()
    second.set_state_dict(first.state_dict())
    assert second() == second.get_lr() == 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "Piecewise", "decay_epochs": [3], "values": [0.1]}, "one entry more"),
        ({"name": "Piecewise", "decay_epochs": [6, 3], "values": [1, 0.1, 0.01]}, "must increase"),
        ({"name": "Cosine", "learning_rate": 0}, "greater than 0"),
    ],
)
def test_bad_schedules_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        rates(options)
