"""What ways to train need of the other sections, and who reads which key."""

from pathlib import Path
from typing import get_args

import pytest
from support.cameras import camera_config

from ppcls_compress.config.inert import inert_keys
from ppcls_compress.config.load import validate
from ppcls_compress.config.sections import Global
from ppcls_compress.engine.modes import MODES
from ppcls_compress.errors import ConfigError


def changed(**at):
    """The configuration with other values at dotted keys; None takes a key away."""
    data = camera_config(Path("."))
    for dotted, value in at.items():
        *path, last = dotted.split("__")
        section = data
        for key in path:
            section = section[int(key) if isinstance(section, list) else key]
        if value is None:
            del section[int(last) if isinstance(section, list) else last]
        else:
            section[last] = value
    return data


def test_each_name_is_a_way_to_train():
    (names, nothing) = get_args(Global.model_fields["train_mode"].annotation)
    assert {*get_args(names), None} == set(MODES)
    assert nothing is type(None)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"Arch__Backbone": {"name": "ResNet50"}},
            "Global.train_mode: metabin trains the gates of a network, and Arch.Backbone.name ResNet50 has none; use "
            "ResNet50_metabin, or leave train_mode out",
        ),
        ({"Arch": {"name": "ResNet50"}}, "Arch.name ResNet50 has none; use ResNet50_metabin"),
        ({"Global__update_freq": 2}, "Global.update_freq: must be 1 with train_mode metabin"),
        ({"Loss__MetaTest": None}, "Loss.MetaTest: needed with Global.train_mode metabin, and not given"),
        ({"Loss__Basic": []}, "Loss.Basic: expected a list of at least 1, found []"),
        ({"Optimizer__2": None}, "Optimizer: Global.train_mode metabin needs three, found 2: the weights'"),
        (
            {"Optimizer__2__SGD__lr": {"name": "ReduceOnPlateau", "learning_rate": 0.1}},
            "Optimizer.2.lr.name: watches evaluations",
        ),
        (
            {"DataLoader__Metalearning": None},
            "DataLoader.Metalearning: needed with Global.train_mode metabin, and not given: {Train: {...}}",
        ),
        (
            {"DataLoader__Metalearning__Train__dataset__name": "ICartoonDataset"},
            "DataLoader.Metalearning.Train.dataset.name: ICartoonDataset tells no camera of an image, and gates learn "
            "across cameras; choose one of VeriWild, Market1501, DukeMTMC, MSMT17",
        ),
        (
            {"DataLoader__Metalearning__Train__dataset__batch_transform_ops": [{"MixupOperator": {"alpha": 0.2}}]},
            "DataLoader.Metalearning.Train.dataset.batch_transform_ops: mix images of several cameras",
        ),
    ],
)
def test_what_meta_learning_lacks_is_one_line_with_the_key(change, told):
    with pytest.raises(ConfigError) as error:
        validate(changed(**change), source="test")
    (line,) = str(error.value).splitlines()
    assert told in line


def test_keys_that_nothing_reads_are_told():
    lines = list(inert_keys(validate(changed(), source="test")))
    assert lines == [
        "Loss.Train has no effect: Global.train_mode metabin reads Loss.Basic, Loss.MetaTrain, Loss.MetaTest",
        "Optimizer.2.SGD trains nothing: its lr alone has an effect",
        "Arch.Neck.use_global_stats has no effect: MetaBNNeck counts with those of a batch, as in PaddleClas",
    ]
    ordinary = changed(Global__train_mode=None, Optimizer__2=None, Arch__Neck__use_global_stats=None)
    keys = ("Loss.Basic", "Loss.MetaTrain", "Loss.MetaTest", "DataLoader.Metalearning", "Global.warmup_iter")
    assert list(inert_keys(validate(ordinary, source="test"))) == [
        f"{key} has no effect: Global.train_mode metabin alone reads it" for key in keys
    ]
