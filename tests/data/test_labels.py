import unicodedata

import numpy as np
import pytest

from ppcls_compress.data import read_class_names
from ppcls_compress.data.datasets import ImageNetDataset
from ppcls_compress.errors import ConfigError, UserError

WHERE = "DataLoader.Train.dataset"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a.jpg", "b.jpg", "c d.jpg"):
        (tmp_path / "images" / name).write_bytes(b"x")
    return tmp_path


def read(folder, text, *, class_num=3, encoding="utf-8", **options):
    (folder / "list.txt").write_bytes(text.encode(encoding))
    dataset = ImageNetDataset(
        image_root=str(folder / "images"),
        cls_label_path=str(folder / "list.txt"),
        transform_ops=["DecodeImage"],
        **options,
    )
    return dataset.read(class_num=class_num, where=WHERE)


def test_reads_paths_and_labels(folder):
    found = read(folder, "a.jpg 0\nb.jpg 2\n\nc d.jpg 1\r\n")
    assert found.paths == [str(folder / "images" / name) for name in ("a.jpg", "b.jpg", "c d.jpg")]
    assert found.labels.tolist() == [0, 2, 1]
    assert found.labels.dtype == np.int64


def test_tabs_other_delimiters_and_a_byte_order_mark(folder):
    assert read(folder, "a.jpg\t1\n").labels.tolist() == [1]
    assert read(folder, "c d.jpg,1\n", delimiter=",").labels.tolist() == [1]
    assert read(folder, "a.jpg 1\n", encoding="utf-8-sig").paths == [str(folder / "images" / "a.jpg")]


def test_relabel_numbers_labels_in_ascending_order(folder):
    assert read(folder, "a.jpg 70\nb.jpg 9\nc d.jpg 70\n", class_num=2, relabel=True).labels.tolist() == [1, 0, 1]
    with pytest.raises(UserError, match=r"list\.txt:1: label 70 is outside 0 \.\. 0"):
        read(folder, "a.jpg 70\nb.jpg 9\n", class_num=1, relabel=True)


@pytest.mark.parametrize("line", ["b.jpg", "b.jpg x", "b.jpg -1", "b.jpg 1.0", "7", f"b.jpg {10**30}", "b.jpg,1"])
def test_a_malformed_line_is_named(folder, line):
    with pytest.raises(UserError, match=r"list\.txt:2: expected a path, a space and a label"):
        read(folder, f"a.jpg 0\n{line}\n")


@pytest.mark.parametrize(
    ("line", "delimiter", "hint"),
    [
        ("b.jpg,1", None, "; the data set's delimiter: ',' would fit"),
        ("b.jpg;1", None, "; the data set's delimiter: ';' would fit"),
        ("b.jpg 1", ",", "; the data set's delimiter: ' ' would fit"),
        ("1 b.jpg", None, "; the label comes after the path"),
        ("path label", None, ""),
        ("b.jpg cat", None, ""),
    ],
)
def test_what_a_malformed_line_may_be_is_told(folder, line, delimiter, hint):
    with pytest.raises(UserError, match=r"list\.txt:1: expected a path") as error:
        read(folder, f"{line}\n", delimiter=delimiter)
    assert str(error.value).endswith(f"found {line!r}{hint}")


def test_a_label_out_of_range_is_named(folder):
    with pytest.raises(UserError) as error:
        read(folder, "a.jpg 0\n\nb.jpg 3\na.jpg 9\n")
    assert str(error.value).endswith("list.txt:3: label 3 is outside 0 .. 2, as Arch.class_num is 3 (and 1 more lines)")


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_list(folder, text):
    with pytest.raises(UserError, match=r"list\.txt: the list is empty"):
        read(folder, text)


def test_a_binary_list(folder):
    with pytest.raises(UserError, match=r"list\.txt: not a text file in UTF-8"):
        read(folder, "\xff\xfe\xfd", encoding="latin1")


def test_missing_images_are_named_unless_they_may_be_skipped(folder):
    text = "a.jpg 0\ngone.jpg 1\nfolder/gone.jpg 1\n"
    with pytest.raises(UserError, match=r"list\.txt:2: no such image .*/images/gone\.jpg \(and 1 more\)$"):
        read(folder, text)
    with pytest.raises(UserError, match="skip_bad_images allows 1"):
        read(folder, text, skip_bad_images=1)
    assert len(read(folder, text, skip_bad_images=2)) == 3


@pytest.mark.parametrize(("key", "value"), [("image_root", "imagse"), ("cls_label_path", "lost.txt")])
def test_paths_that_do_not_exist_are_named_with_their_key(folder, key, value):
    (folder / "list.txt").write_text("a.jpg 0\n")
    paths = {"image_root": str(folder / "images"), "cls_label_path": str(folder / "list.txt"), key: str(folder / value)}
    options = ImageNetDataset(transform_ops=["DecodeImage"], **paths)
    with pytest.raises(ConfigError, match=f"{WHERE}.{key}: .*{value} does not exist; did you mean"):
        options.read(class_num=3, where=WHERE)


def test_a_list_that_counts_its_labels_from_one_is_told(folder):
    text = "a.jpg 1\nb.jpg 2\nc d.jpg 3\n"
    with pytest.raises(
        UserError, match=r"list\.txt:3: label 3 is outside 0 \.\. 2.*counts its labels from 1.*relabel: True"
    ):
        read(folder, text)
    assert read(folder, text, relabel=True).labels.tolist() == [0, 1, 2]


def test_a_list_in_another_encoding_is_told(folder):
    with pytest.raises(
        UserError, match=r"list\.txt: not a text file in UTF-8, first in line 1; it looks like GBK: iconv -f GBK"
    ):
        read(folder, "狗/a.jpg 0\n", encoding="gbk")


@pytest.fixture
def nested(folder):
    deep = folder / "images" / "deep"
    deep.mkdir()
    for name in ("a.jpg", "Big.JPG", unicodedata.normalize("NFD", "café.jpg")):
        (deep / name).write_bytes(b"x")
    return folder


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("deep\\a.jpg", "the list writes \\ between folders, which is part of a name here; write /"),
        ("images/deep/a.jpg", "images/ is in image_root already"),
        ("deep/big.jpg", "Big.JPG is there, which differs in upper and lower case"),
        ("Deep/a.jpg", "deep is there, which differs in upper and lower case"),
        (
            unicodedata.normalize("NFC", "deep/café.jpg"),
            "differs in its Unicode form only (here and on the disk: NFC and NFD)",
        ),
        ("deep", "it is a folder"),
        ("deep/a.jpg,", "the line has a mark after the name"),
        ('"deep/a.jpg"', "quotes are part of the name here"),
        ("deep/a.jpg extra", "the line goes on after the name of the image"),
    ],
)
def test_why_an_image_is_not_there_is_told_where_it_shows(nested, name, reason):
    with pytest.raises(UserError, match=r"list\.txt:1: no such image ") as error:
        read(nested, f"{name} 0\n")
    assert reason in str(error.value)


@pytest.mark.parametrize("name", ["a\0b.jpg", "x" * 300, "x" * 5000, "deep/../../lost.jpg", "\x01"])
def test_names_that_no_file_can_have_are_missing_images(nested, name):
    with pytest.raises(UserError, match=r"list\.txt:1: no such image ") as error:
        read(nested, f"{name} 0\n")
    assert len(str(error.value)) < 700
    assert len(read(nested, f"{name} 0\n", skip_bad_images=1)) == 1


@pytest.fixture
def outside(nested):
    (nested / "secret.jpg").write_bytes(b"x")
    images = nested / "images"
    (images / "link.jpg").symlink_to(nested / "secret.jpg")
    (images / "far").symlink_to(nested)
    (images / "near.jpg").symlink_to("deep/a.jpg")
    (images / "close").symlink_to("deep")
    return nested


@pytest.mark.parametrize(
    "name", ["../secret.jpg", "deep/../../secret.jpg", "{root}/secret.jpg", "link.jpg", "far/secret.jpg"]
)
def test_an_image_outside_its_folder_is_refused_unless_asked_for(outside, name):
    name = name.format(root=outside)
    with pytest.raises(
        UserError, match=r"list\.txt:2: .* leads outside DataLoader\.Train\.dataset\.image_root"
    ) as error:
        read(outside, f"a.jpg 0\n{name} 0\n")
    assert "set DataLoader.Train.dataset.allow_outside to True" in str(error.value)
    assert len(read(outside, f"a.jpg 0\n{name} 0\n", allow_outside=True)) == 2


@pytest.mark.parametrize(
    "name", ["deep/../a.jpg", "{root}/images/a.jpg", "near.jpg", "close/a.jpg", "far/images/a.jpg", "./a.jpg"]
)
def test_what_stays_inside_is_taken_however_it_is_written(outside, name):
    assert len(read(outside, f"{name.format(root=outside)} 0\n")) == 1


def test_the_folder_itself_may_be_a_link(outside):
    (outside / "elsewhere").symlink_to("images")
    dataset = {"image_root": str(outside / "elsewhere"), "cls_label_path": str(outside / "list.txt")}
    (outside / "list.txt").write_text("deep/a.jpg 0\n")
    options = ImageNetDataset(transform_ops=["DecodeImage"], **dataset)
    assert options.read(class_num=1, where=WHERE).paths == [f"{outside}/elsewhere/deep/a.jpg"]


@pytest.mark.parametrize("between", [" ", "\t", "  \t "])
def test_class_names(folder, between):
    path = folder / "names.txt"
    path.write_text(f"1{between}a dog\n\n0{between}cat\n")
    assert read_class_names(path, 2) == ["cat", "a dog"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 cat\n2 dog\n", "names.txt: its indices are counted from 1 to 2; they must be from 0, as labels are"),
        ("0 cat\n2 dog\n", "names.txt:2: class index 2 is outside 0 .. 1"),
        ("0 cat\n0 dog\n", "names.txt:2: class index 0 is given twice"),
        ("0 cat\n", "names.txt: no name for class 1; Arch.class_num is 2"),
        ("0 cat\n1\n", "names.txt:2: expected a class index, a space and a name, found '1'"),
        ("cat\ndog\n", "names.txt:1: expected a class index"),
    ],
)
def test_class_names_that_do_not_fit(folder, text, message):
    path = folder / "names.txt"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_class_names(path, 2)
    assert message in str(error.value)
