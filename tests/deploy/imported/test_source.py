import pytest

from ppcls_compress.deploy.imported.source import find
from ppcls_compress.errors import UserError


def made(folder, *names):
    for name in names:
        (folder / name).write_text("x")
    return folder


@pytest.mark.parametrize("name", ["inference.json", "inference.pdmodel"])
def test_a_program_is_found_with_its_parameters_and_its_description(tmp_path, name):
    made(tmp_path, name, "inference.pdiparams", "inference.yml", "slim.json")
    for path in (tmp_path, tmp_path / name, tmp_path / "inference"):
        found = find(path)
        assert (found.path.name, found.parameters.name) == (name, "inference.pdiparams")
        assert found.preprocess == tmp_path / "inference.yml"


def test_the_names_that_a_user_gives_are_taken(tmp_path):
    made(tmp_path, "a.pdmodel", "b.pdmodel", "a.pdiparams", "values.bin")
    found = find(tmp_path, graph="b.pdmodel", parameters="values.bin")
    assert (found.path.name, found.parameters.name) == ("b.pdmodel", "values.bin")


@pytest.mark.parametrize(
    ("names", "asked", "expected"),
    [
        ((), "", "holds no model"),
        (("a.onnx", "b.onnx"), "", "holds a.onnx, b.onnx; name the file that is meant"),
        (("a.pdmodel",), "a.pdmodel", "a.pdiparams: no such file"),
        (("a.txt",), "a.txt", "no model that is read here; allowed: .onnx, .json, .pdmodel"),
        ((), "a.onnx", "a.onnx: no such file"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path, names, asked, expected):
    made(tmp_path, *names)
    with pytest.raises(UserError, match=expected):
        find(tmp_path / asked)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "a.onnx").touch()
    with pytest.raises(UserError, match="the file is empty"):
        find(tmp_path)
