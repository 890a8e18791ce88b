import math

import paddle
import pytest
from paddle.optimizer import lr
from pydantic import TypeAdapter

from ppcls_compress.declare import named
from ppcls_compress.errors import UserError
from ppcls_compress.optim.build import build_schedule
from ppcls_compress.optim.schedules import SCHEDULES

EPOCHS, STEPS = 10, 4


def options_of(options):
    return TypeAdapter(named(SCHEDULES)).validate_python(options)


def rates(options, epochs=EPOCHS, steps_per_epoch=STEPS, count=None):
    schedule = build_schedule(options_of(options), epochs=epochs, steps_per_epoch=steps_per_epoch)
    found = []
    for _ in range(count or epochs * steps_per_epoch):
        found.append(schedule.get_lr())
        schedule.step()
    return found


def paddle_rates(decay, *, warmup=0, start=0.0, end=0.0, by_epoch=False):
    """What Paddle's own scheduler gives when it is stepped as PaddleClas steps it."""
    scheduler = lr.LinearWarmup(decay, warmup, start, end) if warmup else decay
    found = []
    for step in range(EPOCHS * STEPS):
        found.append(scheduler())
        if not by_epoch or (step + 1) % STEPS == 0:
            scheduler.step()
    return found


BOTH = [
    ("Constant", {"learning_rate": 0.1}, lambda unit, length: lr.LambdaDecay(0.1, lambda position: 1.0)),
    ("ConstLR", {"learning_rate": 0.1}, lambda unit, length: lr.LambdaDecay(0.1, lambda position: 1.0)),
    (
        "Linear",
        {"learning_rate": 0.1, "end_lr": 0.001, "power": 0.7},
        lambda unit, length: lr.PolynomialDecay(0.1, length, 0.001, 0.7),
    ),
    (
        "Cosine",
        {"learning_rate": 0.1, "eta_min": 0.01},
        lambda unit, length: lr.CosineAnnealingDecay(0.1, length, 0.01),
    ),
    (
        "Piecewise",
        {"decay_epochs": [2, 5], "values": [0.1, 0.02, 0.003]},
        lambda unit, length: lr.PiecewiseDecay([2 * unit, 5 * unit], [0.1, 0.02, 0.003]),
    ),
    (
        "Step",
        {"learning_rate": 0.1, "step_size": 3, "gamma": 0.5},
        lambda unit, length: lr.StepDecay(0.1, 3 * unit, 0.5),
    ),
    (
        "MultiStepDecay",
        {"learning_rate": 0.1, "milestones": [1, 4], "gamma": 0.3},
        lambda unit, length: lr.MultiStepDecay(0.1, [unit, 4 * unit], 0.3),
    ),
]


@pytest.mark.parametrize("by_epoch", [False, True])
@pytest.mark.parametrize("warmup", [0, 2])
@pytest.mark.parametrize(("name", "options", "decay"), BOTH, ids=[name for name, _, _ in BOTH])
def test_each_step_has_the_rate_that_paddle_gives_it_in_paddleclas(name, options, decay, warmup, by_epoch):
    unit = 1 if by_epoch else STEPS
    expected = paddle_rates(
        decay(unit, (EPOCHS - warmup) * unit), warmup=warmup * unit, start=0.02, end=0.1, by_epoch=by_epoch
    )
    found = rates({"name": name, "warmup_epoch": warmup, "warmup_start_lr": 0.02, "by_epoch": by_epoch, **options})
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("three", [False, True])
def test_one_cycle_is_paddles(strategy, three):
    total = EPOCHS * STEPS
    expected = paddle_rates(lr.OneCycleLR(0.1, total, 20.0, 1e-4, 0.3, strategy, three))
    options = {"max_learning_rate": 0.1, "divide_factor": 20, "end_learning_rate": 1e-4, "three_phase": three}
    assert rates({"name": "OneCycleLR", "anneal_strategy": strategy, **options}) == pytest.approx(expected)


@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
@pytest.mark.parametrize("down", [None, 9])
def test_cycles_are_paddles(mode, down):
    expected = paddle_rates(lr.CyclicLR(0.01, 0.1, 5, down, mode, 0.95))
    options = {"base_learning_rate": 0.01, "max_learning_rate": 0.1, "step_size_up": 5, "step_size_down": down}
    assert rates({"name": "Cyclic", "mode": mode, "exp_gamma": 0.95, **options}) == pytest.approx(expected)


def test_fixmatchs_cosine_is_its_formula():
    found = rates({"name": "CosineFixmatch", "learning_rate": 0.03, "num_warmup_steps": 8})
    expected = [step / 8 for step in range(8)]
    expected += [math.cos(math.pi * 7 / 16 * (step - 8) / 32) for step in range(8, 40)]
    assert found == pytest.approx([0.03 * factor for factor in expected])


def test_a_line_that_cycles_begins_anew_past_its_end():
    found = rates({"name": "Linear", "learning_rate": 1.0, "cycle": True}, epochs=1, count=7)
    decay = lr.PolynomialDecay(1.0, 4, 0.0, 1.0, True)
    expected = []
    for _ in range(7):
        expected.append(decay())
        decay.step()
    assert found == pytest.approx(expected)


def test_the_older_cosine_has_five_epochs_of_warm_up():
    found = rates({"name": "CosineWarmup", "learning_rate": 0.1})
    assert found == rates({"name": "Cosine", "learning_rate": 0.1, "warmup_epoch": 5})


def test_a_warm_up_of_fractions_of_an_epoch_is_rounded_to_steps():
    found = rates({"name": "Constant", "learning_rate": 0.1, "warmup_epoch": 0.6})
    assert found[:3] == pytest.approx([0.0, 0.05, 0.1])


def test_a_warm_up_longer_than_the_run_takes_all_of_it():
    found = rates({"name": "Cosine", "learning_rate": 0.1, "warmup_epoch": 20})
    assert found == pytest.approx([0.1 * step / 40 for step in range(40)])


def test_a_piecewise_rate_alone_falls_to_a_tenth_every_30_epochs():
    options = {"name": "Piecewise", "learning_rate": 0.1, "decay_epochs": [200], "values": [0.1, 0.01]}
    found = rates(options, epochs=70, steps_per_epoch=1)
    assert found == pytest.approx([0.1] * 30 + [0.01] * 30 + [0.001] * 10)
    ((key, reason),) = options_of(options).inert()
    assert key == "values"
    assert "every 30 epochs" in reason
    agreeing = options | {"decay_epochs": [30, 60], "values": [0.1, 0.01, 0.001]}
    assert not list(options_of(agreeing).inert())


def test_a_last_boundary_without_a_value_changes_nothing():
    found = rates({"name": "Piecewise", "decay_epochs": [1, 2], "values": [1.0, 0.1]}, epochs=3, steps_per_epoch=1)
    assert found == [1.0, 0.1, 0.1]


def test_a_last_epoch_shifts_the_schedule_as_paddles_does():
    found = rates({"name": "Piecewise", "decay_epochs": [4], "values": [1.0, 0.1], "by_epoch": True, "last_epoch": 0})
    expected = paddle_rates(lr.PiecewiseDecay([4], [1.0, 0.1], last_epoch=0), by_epoch=True)
    assert found == pytest.approx(expected)
    assert found[11:13] == pytest.approx([1.0, 0.1])


VALUES = [0.3, 0.4, 0.4, 0.401, 0.4, 0.39, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize("rules", [{"patience": 1, "cooldown": 2}, {"patience": 0, "min_lr": 0.02, "threshold": 0.01}])
def test_a_plateau_lowers_the_rate_as_paddles_does(mode, threshold_mode, rules):
    rules = {"mode": mode, "threshold_mode": threshold_mode, **rules}
    ours = build_schedule(
        options_of({"name": "ReduceOnPlateau", "learning_rate": 0.1, **rules}), epochs=9, steps_per_epoch=2
    )
    theirs = lr.ReduceOnPlateau(0.1, **rules)
    for value in VALUES:
        ours.step()
        ours.step()
        ours.evaluated(value)
        theirs.step(value)
        assert ours() == theirs()
    assert ours() < 0.1


def test_a_restored_plateau_goes_on():
    options = options_of({"name": "ReduceOnPlateau", "learning_rate": 0.1, "mode": "max", "patience": 1})
    first, second = (build_schedule(options, epochs=9, steps_per_epoch=2) for _ in range(2))
    for value in (0.5, 0.4):
        first.evaluated(value)
    second.set_state_dict(first.state_dict())
    for schedule in (first, second):
        schedule.evaluated(0.4)
    assert first() == second() == pytest.approx(0.01)


@pytest.mark.parametrize(
    "state", [{}, [], {"rate": "0.1", "best": None, "without_progress": 0, "cooling": 0},
              {"rate": 0.1, "best": None, "without_progress": True, "cooling": 0}]
)  # fmt: skip
def test_what_is_no_state_of_a_plateau_is_refused(state):
    schedule = build_schedule(
        options_of({"name": "ReduceOnPlateau", "learning_rate": 0.1}), epochs=9, steps_per_epoch=2
    )
    with pytest.raises(UserError, match="the state of ReduceOnPlateau: expected rate, best"):
        schedule.set_state_dict({**schedule.state_dict(), "watcher": state})


def test_an_optimizer_steps_at_the_rate_of_its_plateau():
    schedule = build_schedule(
        options_of({"name": "ReduceOnPlateau", "learning_rate": 0.1, "patience": 0, "factor": 0.5}),
        epochs=9,
        steps_per_epoch=2,
    )
    optimizer = paddle.optimizer.SGD(schedule, parameters=paddle.nn.Linear(1, 1).parameters())
    for value in (1.0, 1.0):
        schedule.evaluated(value)
    assert optimizer.get_lr() == 0.05


def test_a_restored_schedule_goes_on():
    config = options_of({"name": "Cosine", "learning_rate": 0.1})
    first, second = (build_schedule(config, epochs=10, steps_per_epoch=4) for _ in range(2))
    for _ in range(17):
        first.step()
    second.set_state_dict(first.state_dict())
    first.step()
    second.step()
    assert second.get_lr() == first.get_lr() != 0.1


def test_a_restored_schedule_goes_on_at_its_own_rate():
    first, second = (
        build_schedule(options_of({"name": "Constant", "learning_rate": rate}), epochs=2, steps_per_epoch=4)
        for rate in (1.0, 0.1)
    )
    first.step()
    second.set_state_dict(first.state_dict())
    assert second() == second.get_lr() == 0.1


def test_keys_that_change_nothing_are_told():
    options = {"name": "MultiStepDecay", "learning_rate": 1, "milestones": [1]}
    in_vain = {"epochs": 9, "step_each_epoch": 1, "verbose": True}
    assert [key for key, _ in options_of(options | in_vain).inert()] == list(in_vain)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "Piecewise", "decay_epochs": [3, 4], "values": [0.1]}, "one entry more"),
        ({"name": "Piecewise", "decay_epochs": [6, 3], "values": [1, 0.1, 0.01]}, "must increase"),
        ({"name": "MultiStepDecay", "learning_rate": 1, "milestones": [6, 3]}, "must increase"),
        ({"name": "Cosine", "learning_rate": 0}, "greater than 0"),
        ({"name": "OneCycleLR", "max_learning_rate": 1, "phase_pct": 0.6, "three_phase": True}, "below 0.5"),
        ({"name": "ReduceOnPlateau", "learning_rate": 1, "factor": 1.0}, "less than 1"),
        ({"name": "ReduceOnPlateau", "learning_rate": 1, "warmup_epoch": 2}, "Input should be 0"),
    ],
)
def test_bad_schedules_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        rates(options)


@pytest.mark.parametrize(
    ("mode", "scale", "told"), [("triangular", "iterations", True), ("exp_range", "iterations", False)]
)
def test_a_scale_mode_that_is_not_the_modes_own_is_told(mode, scale, told):
    cycle = {"name": "Cyclic", "base_learning_rate": 0.1, "max_learning_rate": 0.2, "step_size_up": 4}
    found = [key for key, _ in options_of({**cycle, "mode": mode, "scale_mode": scale}).inert()]
    assert found == (["scale_mode"] if told else [])
