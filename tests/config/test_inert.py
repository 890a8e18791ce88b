import re

from ppcls_compress.config.inert import inert_keys
from ppcls_compress.config.load import validate
from ppcls_compress.data.transforms import TRANSFORMS


def test_keys_without_effect_are_named_with_the_reason():
    config = validate(
        {
            "Arch": {"name": "ResNet50"},
            "Global": {"use_dali": True},
            "Infer": {"transforms": ["DecodeImage", {"NormalizeImage": {"order": "hwc", "output_fp16": True}}]},
        },
        source="test",
    )
    lines = list(inert_keys(config))
    assert len(lines) == 2
    assert lines[0].startswith("Global.use_dali has no effect: ")
    assert lines[1].startswith("Infer.transforms.1.NormalizeImage.output_fp16 has no effect: ")


def test_a_plain_configuration_has_none():
    assert not list(inert_keys(validate({"Arch": {"name": "ResNet50"}}, source="test")))


def test_keys_of_mixed_precision_that_ask_for_what_is_done_anyway_are_silent():
    def lines(**amp):
        data = {"Arch": {"name": "ResNet50"}, "Global": {"image_channel": 3, "train_mode": None}, "AMP": amp}
        return list(inert_keys(validate(data, source="test")))

    assert not lines(use_fp16_test=False, use_promote=False, level="O1")
    assert not lines(use_promote=True, level="O2")
    assert not lines(use_amp=False, use_fp16_test=True, use_promote=True)
    first, second = lines(use_fp16_test=True, use_promote=True)
    assert first.startswith("AMP.use_fp16_test has no effect: ")
    assert second.startswith("AMP.use_promote has no effect: ")


def test_every_option_of_a_transform_that_is_said_to_have_no_effect_is_told():
    for name in TRANSFORMS:
        kind = TRANSFORMS.get(name)
        said = set(re.findall(r"^\s*(\w+): without effect", kind.__doc__ or "", re.MULTILINE))
        assert said <= kind.inert.keys() | {"backend"}, name  # a backend has none where both libraries do the same
        for option, (harmless, _) in kind.inert.items():
            assert kind.model_fields[option].default == harmless
