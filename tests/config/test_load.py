import argparse
import copy
from pathlib import Path

import pytest
import yaml

from ppcls_compress.commands.common import read_config
from ppcls_compress.config.load import load_config, read_yaml, validate
from ppcls_compress.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(ROOT.glob("configs/**/*.yaml"))

TRAIN_OPS = [{"DecodeImage": {"to_rgb": True}}, {"NormalizeImage": {"scale": "1.0/255.0", "order": ""}}]


def minimal():
    loader = {
        "dataset": {"image_root": "images", "cls_label_path": "list.txt", "transform_ops": TRAIN_OPS},
        "sampler": {"name": "DistributedBatchSampler", "batch_size": 4},
    }
    return {
        "Global": {"epochs": 2, "image_shape": [3, 32, 32]},
        "Arch": {"name": "CIFARResNet20", "class_num": 10},
        "Loss": {"Train": [{"CELoss": {"weight": 1.0, "epsilon": 0.1}}]},
        "Optimizer": {"name": "Momentum", "lr": {"name": "Cosine", "learning_rate": 0.1}},
        "DataLoader": {"Train": loader, "Eval": copy.deepcopy(loader)},
    }


def load(tmp_path, data, *overrides):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(data))
    return load_config(path, overrides)


def refused(tmp_path, data, *overrides):
    with pytest.raises(ConfigError) as error:
        load(tmp_path, data, *overrides)
    return str(error.value)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_committed_configuration_is_valid(path):
    assert read_config(argparse.Namespace(config=path, override=[])).Arch.name


def test_num_classes_is_another_name_of_class_num(tmp_path):
    data = minimal()
    data["Arch"] = {"name": "WideResNet", "depth": 28, "widen_factor": 2, "dropout": 0, "num_classes": 100}
    config = load(tmp_path, data)
    assert config.Arch.class_num == 100
    assert config.Arch.family_options == {"depth": 28, "widen_factor": 2, "dropout": 0}
    data["Arch"]["class_num"] = 100
    assert "class_num and num_classes are the same: give one of them" in refused(tmp_path, data)


@pytest.mark.parametrize("key", ["output_dir", "save_inference_dir"])
def test_no_two_committed_configurations_write_to_the_same_folder(key):
    folders = [getattr(load_config(path).Global, key) for path in CONFIGS]
    assert len(set(folders)) == len(folders) > 10


def test_arithmetic_and_string_numbers_become_numbers(tmp_path):
    data = minimal()
    data["Optimizer"]["regularizer"] = {"name": "L2", "coeff": "1e-4"}
    config = load(tmp_path, data)
    assert config.Optimizer[0].regularizer.coeff == 1e-4
    assert config.DataLoader.Train.dataset.transform_ops[1].scale == pytest.approx(1 / 255)


def test_override_walks_dictionaries_and_lists(tmp_path):
    config = load(
        tmp_path,
        minimal(),
        "Global.epochs=7",
        "Global.image_shape=[3,16,16]",
        "DataLoader.Train.dataset.transform_ops.1.NormalizeImage.mean=[0.5, 0.5, 0.5]",
        "Slim.prune.name=fpgm",
    )
    assert config.Global.epochs == 7
    assert config.Global.image_shape == (3, 16, 16)
    assert config.DataLoader.Train.dataset.transform_ops[1].mean == (0.5, 0.5, 0.5)
    assert config.Slim.prune.name == "fpgm"


def test_override_null_takes_a_section_away(tmp_path):
    data = minimal() | {"Slim": {"prune": {"name": "fpgm", "pruned_ratio": 0.3}}}
    assert load(tmp_path, data).Slim.prune is not None
    assert load(tmp_path, data, "Slim=null").Slim is None


def test_an_empty_section_means_its_defaults(tmp_path):
    assert load(tmp_path, minimal(), "Metric=null").Metric.Eval[0].topk == (1, 5)


def test_training_batches_may_be_mixed(tmp_path):
    config = load(tmp_path, minimal(), "DataLoader.Train.dataset.batch_transform_ops=[MixupOperator]")
    assert config.DataLoader.Train.dataset.batch_transform_ops[0].alpha == 1.0


def test_a_date_is_a_folder_name(tmp_path):
    assert load(tmp_path, minimal(), "Global.output_dir=2024-13-45").Global.output_dir == "2024-13-45"


def test_configuration_is_frozen(tmp_path):
    config = load(tmp_path, minimal())
    with pytest.raises(ValueError, match="frozen"):
        config.Global.epochs = 3


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("Global.epoch=3", "Global: unknown key 'epoch'; did you mean 'epochs'?"),
        ("Globl.epochs=3", "unknown key 'Globl'; did you mean 'Global'?"),
        ("Global.epochs=many", "Global.epochs: expected a valid integer"),
        ("Global.epochs=0", "Global.epochs: expected greater than or equal to 1, found 0"),
        ("Global.device=cuda", "Global.device: found 'cuda'"),
        ("Optimizer.name=Momentun", "Optimizer.name: unknown optimizer 'Momentun'; did you mean 'Momentum'?"),
        (
            "Optimizer.lr.name=Cosin",
            "Optimizer.lr.name: unknown schedule 'Cosin'; did you mean 'Cosine'?",
        ),
        ("Optimizer.lr.eta_mim=1", "Optimizer.lr: unknown key 'eta_mim'; did you mean 'eta_min'?"),
        ("Optimizer.momentum=2.0", "Optimizer.momentum: expected less than 1, found 2.0"),
        ("Optimizer.lr.learning_rate=__import__('os')", "Optimizer.lr.learning_rate: "),
        ("Slim.prun.name=fpgm", "Slim: unknown key 'prun'; did you mean 'prune'?"),
        ("Slim.prune={name: fpgm, pruned_ration: 0.3}", "Slim.prune: unknown key 'pruned_ration'"),
        ("Slim.prune={name: fpgm, pruned_ratio: 1.5}", "Slim.prune: "),
        ("Slim.quant={name: pakt}", "Slim.quant.name: found 'pakt'; did you mean 'pact'?"),
        ("DataLoader.Train.sampler.batch_size=-1", "DataLoader.Train.sampler.batch_size: expected greater than 0"),
        ("DataLoader.Train.dataset.transform_ops.0={DecodImage: null}", "did you mean 'DecodeImage'?"),
        ("DataLoader.Train.dataset.transform_ops.9.X=1", "transform_ops.9 is not an entry of a list of 2"),
        ("Loss.Train=[{CELos: {}}]", "Loss.Train.0: unknown loss 'CELos'; did you mean 'CELoss'?"),
        ("Global.epochs.more=1", "Global.epochs is the value 2, not a section"),
        ("Global.epochs", "expected key.path=value"),
        ("fpgm}", "a value with spaces needs quotes: -o 'Slim.prune={name: fpgm}'"),
        ("Bogus=null", "unknown key 'Bogus'"),
        ("Metric.Eval=[]", "Metric.Eval: expected a list of at least 1, found []"),
        ("Metric.Eval=[{TopkAcc: {topk: []}}]", "Metric.Eval.0.TopkAcc.topk: expected a list of at least 1, found []"),
        (
            "DataLoader.Eval.dataset.batch_transform_ops=[MixupOperator]",
            "DataLoader.Eval.dataset.batch_transform_ops: found MixupOperator, which mix labels",
        ),
        ("Global.epochs=&a [*a]", "Global.epochs: expected a valid integer"),
        ("Global.epochs=" + "[" * 3000 + "]" * 3000, "nested more than 50 levels deep"),
        ("Global.epochs=2024-13-45", "Global.epochs: expected a valid integer"),
        ("Global.image_channel=4", "Global: image_channel 4 contradicts image_shape [3, 32, 32]"),
        ("Global.train_mode=metaban", "Global.train_mode: found 'metaban'"),
        ("EMA={decay: 1}", "EMA.decay: expected less than 1"),
        ("EMA={rate: 0.9999}", "EMA: unknown key 'rate'"),
        ("Optimizer.clip_gard=1.0", "Optimizer: unknown key 'clip_gard'; did you mean 'clip_grad'?"),
        ("Optimizer=[{SGD: {lr: {learning_rate: 1}, momentum: 1}}]", "Optimizer.0.SGD: unknown key 'momentum'"),
        ("Optimizer=[{Sdg: {lr: {learning_rate: 1}}}]", "unknown optimizer 'Sdg'; did you mean 'SGD'?"),
        ("Optimizer=[0.1]", "Optimizer.0: expected a section"),
        ("Global.checkpoints=a -o Global.pretrained_model=b", "does not exist"),
    ],
)
def test_a_wrong_value_is_one_line_with_the_key(tmp_path, override, expected):
    if " -o " in override:
        first, second = override.split(" -o ")
        assert "not both" in refused(tmp_path, minimal(), first, second)
        return
    message = refused(tmp_path, minimal(), override)
    assert expected in message
    assert "\n" not in message


def test_every_problem_is_told(tmp_path):
    message = refused(tmp_path, minimal(), "Global.epochs=0", "Optimizer.momentum=3")
    assert len(message.splitlines()) == 2


def test_missing_section_and_missing_file(tmp_path):
    data = minimal()
    del data["Arch"]
    assert "Arch: required, but not given" in refused(tmp_path, data)
    (tmp_path / "resnet.yaml").write_text("Arch: {name: x}")
    with pytest.raises(ConfigError, match=r"resnat.yaml: no such file; did you mean .*resnet.yaml"):
        read_yaml(tmp_path / "resnat.yaml")
    (tmp_path / "configs").mkdir()
    with pytest.raises(ConfigError, match=r"a\.yaml: no such file; did you mean .*/configs\?"):
        read_yaml(tmp_path / "config" / "a.yaml")


def test_broken_yaml_names_file_and_line(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("Global:\n  epochs: [1\nArch: {}\n")
    with pytest.raises(ConfigError, match=r"broken.yaml, line \d"):
        read_yaml(path)
    path.write_text("Global: {epochs: 1}\nGlobal: {epochs: 2}\n")
    with pytest.raises(ConfigError, match="line 2: key 'Global' is given twice"):
        read_yaml(path)
    path.write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(ConfigError, match="line 1"):
        read_yaml(path)
    path.write_text("- 1")
    with pytest.raises(ConfigError, match=r"found \["):
        read_yaml(path)


def test_environment_variables_are_expanded_in_paths_only(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGES", "/some/where")
    data = minimal()
    data["DataLoader"]["Train"]["dataset"] |= {"image_root": "$IMAGES", "cls_label_path": "$UNSET_VARIABLE/list.txt"}
    dataset = load(tmp_path, data).DataLoader.Train.dataset
    assert dataset.image_root == "/some/where"
    assert dataset.cls_label_path == "$UNSET_VARIABLE/list.txt"


def test_validate_needs_no_file():
    assert validate(minimal(), source="test").Global.epochs == 2
