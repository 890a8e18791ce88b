import pytest
import yaml

from ppcls_compress.config.load import load_config
from ppcls_compress.errors import ForeignFileError

OURS = {"Global": {"epochs": 1}, "Arch": {"name": "LeNet"}}


def refused(tmp_path, data, *overrides):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(ForeignFileError) as error:
        load_config(path, overrides)
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{path}: ")
    return line.removeprefix(f"{path}: ")


def test_a_search_says_that_it_is_one_and_which_file_is_trained_here(tmp_path):
    search = {"base_config_file": "PPLCNet_x1_0_search.yaml", "gpus": "0,1", "search_times": 1, "search_dict": []}
    line = refused(tmp_path, search, "Global.device=cpu")
    assert line.startswith("base_config_file, search_dict, search_times: a search over settings")
    assert "tools/search_strategy.py of PaddleClas does that" in line


@pytest.mark.parametrize(
    ("sections", "marks"),
    [
        ({"SSL": {"T": 1}, "UnLabelLoss": {"Train": []}}, "SSL, UnLabelLoss: "),
        ({"DataLoader": {"UnLabelTrain": {}}}, "DataLoader.UnLabelTrain: "),
        ({"Global": {"train_mode": "fixmatch_ccssl"}}, "Global.train_mode fixmatch_ccssl: "),
    ],
)
def test_semi_supervised_training_is_known_by_any_of_its_keys(tmp_path, sections, marks):
    line = refused(tmp_path, OURS | sections)
    assert line.startswith(marks + "semi-supervised training (FixMatch)")
    assert "tools/train.py of PaddleClas does that" in line


def test_pretraining_without_labels_says_what_can_be_compressed(tmp_path):
    line = refused(tmp_path, OURS | {"Global": {"train_mode": "dino"}})
    assert line.startswith("Global.train_mode dino: self-supervised pretraining (DINO)")
    assert line.endswith("by the file that it is fine-tuned with")


def test_compression_of_exported_models_and_settings_of_deployment_are_told(tmp_path):
    auto = {"Global": {"model_dir": "MobileNetV1"}, "Distillation": {"alpha": 1.0}, "QuantAware": {}, "TrainConfig": {}}
    assert refused(tmp_path, auto).startswith("QuantAware, TrainConfig: compression of an exported model")
    deployed = {"Global": {"inference_model_dir": "models"}, "PreProcess": {}, "PostProcess": {}}
    assert refused(tmp_path, deployed).startswith("PreProcess: settings of PaddleClas' deploy/python")


def test_odd_values_under_those_keys_are_not_taken_for_one_of_these_files(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({**OURS, "DataLoader": None, "Global": None}))
    assert load_config(path).Arch.name == "LeNet"
