import pytest

from ppcls_compress.config.load import validate
from ppcls_compress.config.paths import check_training
from ppcls_compress.declare.paths import check_path
from ppcls_compress.errors import ConfigError


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


def test_an_unset_variable_is_named():
    with pytest.raises(ConfigError, match=r"uses \$SOME_UNSET_DIR, which is not set"):
        check_path("K", "$SOME_UNSET_DIR/list.txt", "file")
