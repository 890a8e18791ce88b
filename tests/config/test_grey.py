import copy

import pytest

from ppcls_compress.config.load import validate
from ppcls_compress.errors import ConfigError

OPS = ["DecodeImage", {"NormalizeImage": {"mean": [0.5], "std": [0.5], "order": ""}}]
SPLIT = {
    "dataset": {"image_root": "images", "cls_label_path": "list.txt", "transform_ops": OPS},
    "sampler": {"batch_size": 4},
}
DATA = {
    "Global": {"image_shape": [1, 28, 28]},
    "Arch": {"name": "LeNet", "class_num": 10},
    "DataLoader": {"Train": SPLIT, "Eval": copy.deepcopy(SPLIT)},
    "Infer": {"transforms": OPS},
}


def channels(config):
    lists = [config.DataLoader.Train.dataset.transform_ops, config.DataLoader.Eval.dataset.transform_ops]
    return [ops[0].channels for ops in (*lists, config.Infer.transforms)]


@pytest.mark.parametrize(
    "shape", [{"image_shape": [1, 28, 28]}, {"image_channel": 1}, {"image_shape": [1, 9, 9], "image_channel": 1}]
)
@pytest.mark.parametrize("first", ["DecodeImage", {"DecodeImage": None}, {"DecodeImage": {"to_rgb": False}}])
def test_images_of_one_channel_are_decoded_so_everywhere(shape, first):
    data = copy.deepcopy(DATA) | {"Global": shape}
    for ops in (data["DataLoader"]["Train"]["dataset"]["transform_ops"], data["Infer"]["transforms"]):
        ops[0] = first
    before = copy.deepcopy(data)
    config = validate(data, source="test")
    assert channels(config) == [1, 1, 1]
    assert config.Global.image_shape[0] == 1
    assert data == before


def test_a_decoder_that_says_otherwise_and_images_in_colour_stay():
    data = copy.deepcopy(DATA)
    data["Infer"]["transforms"] = [{"DecodeImage": {"channels": 3}}]
    assert channels(validate(data, source="test")) == [1, 1, 3]
    data = copy.deepcopy(DATA) | {"Global": {"image_shape": [3, 28, 28]}}
    assert channels(validate(data, source="test")) == [3, 3, 3]


@pytest.mark.parametrize("wrong", [{"image_shape": "grey"}, {"image_shape": []}, {"image_shape": [1, 2]}, "grey", None])
def test_what_is_no_shape_is_left_to_the_schema(wrong):
    data = copy.deepcopy(DATA) | {"Global": wrong}
    if wrong is None:
        assert channels(validate(data, source="test")) == [3, 3, 3]
        return
    with pytest.raises(ConfigError, match="Global"):
        validate(data, source="test")
    for section in (
        {"DataLoader": []},
        {"DataLoader": {"Train": 1}},
        {"Infer": {"transforms": 3}},
        {"Infer": {"transforms": []}},
    ):
        if section != {"Infer": {"transforms": []}}:
            with pytest.raises(ConfigError):
                validate(copy.deepcopy(DATA) | section, source="test")
