from ppcls_compress.config.inert import inert_keys
from ppcls_compress.config.load import validate


def test_keys_without_effect_are_named_with_the_reason():
    config = validate(
        {
            "Arch": {"name": "ResNet50"},
            "Global": {"use_dali": True},
            "Infer": {"transforms": ["DecodeImage", {"ResizeImage": {"size": 8, "return_numpy": False}}]},
        },
        source="test",
    )
    lines = list(inert_keys(config))
    assert len(lines) == 2
    assert lines[0].startswith("Global.use_dali has no effect: ")
    assert lines[1].startswith("Infer.transforms.1.ResizeImage.return_numpy has no effect: ")


def test_a_plain_configuration_has_none():
    assert not list(inert_keys(validate({"Arch": {"name": "ResNet50"}}, source="test")))
