import pytest

from ppcls_compress.config.load import validate
from ppcls_compress.config.paths import check_training, check_weights
from ppcls_compress.declare.paths import check_path
from ppcls_compress.errors import ConfigError, UserError
from ppcls_compress.models import weights


def config(**sections):
    return validate({"Arch": {"name": "CIFARResNet20"}} | sections, source="test")


def test_training_names_the_missing_section():
    with pytest.raises(ConfigError, match="Loss: this section is needed for training"):
        check_training(config())


def test_a_missing_path_names_the_key_and_the_closest_name(tmp_path):
    (tmp_path / "train_list.txt").touch()
    assert check_path("K", str(tmp_path / "train_list.txt"), "file").name == "train_list.txt"
    with pytest.raises(ConfigError, match=r"K: .*train_lst.txt does not exist; did you mean .*train_list.txt"):
        check_path("K", str(tmp_path / "train_lst.txt"), "file")
    with pytest.raises(ConfigError, match=r"K: .* is not a folder"):
        check_path("K", str(tmp_path / "train_list.txt"), "folder")
    with pytest.raises(ConfigError, match=r"there is nothing at .*nowhere"):
        check_path("K", str(tmp_path / "nowhere" / "deep" / "file"), "file")


def test_a_misspelt_folder_on_the_way_is_found(tmp_path):
    (tmp_path / "my_photos").mkdir()
    (tmp_path / "my_photos" / "list.txt").touch()
    for missing, meant in (("my_photo/list.txt", "my_photos/list.txt"), ("my_photo/other.txt", "my_photos")):
        with pytest.raises(ConfigError) as failure:
            check_path("K", str(tmp_path / missing), "file")
        assert str(failure.value).endswith(f"{missing} does not exist; did you mean {tmp_path}/{meant}?")


def test_an_unset_variable_is_named():
    with pytest.raises(ConfigError, match=r"uses \$SOME_UNSET_DIR, which is not set"):
        check_path("K", "$SOME_UNSET_DIR/list.txt", "file")


def test_backslashes_in_a_path_are_told(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(ConfigError, match=r"K: .*\\images does not exist; write / between folders, where it has \\"):
        check_path("K", str(tmp_path) + "\\images", "folder")


@pytest.mark.parametrize("key", ["pretrained_model", "checkpoints"])
@pytest.mark.parametrize("end", ["", "/"])
def test_a_folder_is_no_weights(tmp_path, key, end):
    def told():
        with pytest.raises(ConfigError) as error:
            check_weights(config(Global={key: f"{tmp_path}{end}"}))
        with pytest.raises(UserError, match="Arch.pretrained: "):
            weights.resolve(f"{tmp_path}{end}", "ResNet18")
        return str(error.value)

    assert told() == f"Global.{key}: {tmp_path} is a folder, and there are no weights (.pdparams) in it"
    for name in ("latest", "best_model", "epoch_1"):
        (tmp_path / f"{name}.pdparams").touch()
    assert told() == f"Global.{key}: {tmp_path} is a folder; name the weights in it, such as {tmp_path}/best_model"
    (tmp_path / "inference.yml").touch()
    assert "holds an exported model, which --artifact takes" in told()


def test_another_file_is_no_weights_either(tmp_path):
    (tmp_path / "config.yaml").touch()
    with pytest.raises(
        ConfigError, match=r"Global.pretrained_model: .*config.yaml is no .pdparams or .safetensors file"
    ):
        check_weights(config(Global={"pretrained_model": f"{tmp_path}/config.yaml"}))


def test_a_pattern_is_not_expanded(tmp_path):
    with pytest.raises(ConfigError, match=r"K: .*\*\.png does not exist; patterns are not expanded, name the folder"):
        check_path("K", f"{tmp_path}/*.png", "any")


def test_weights_may_have_the_name_of_a_folder_beside_them(tmp_path):
    (tmp_path / "best").mkdir()
    (tmp_path / "best.pdparams").touch()
    check_weights(config(Global={"pretrained_model": f"{tmp_path}/best"}))
    assert weights.resolve(f"{tmp_path}/best", "ResNet18") == tmp_path / "best.pdparams"
