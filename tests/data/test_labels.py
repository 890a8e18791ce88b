import numpy as np
import pytest

from ppcls_compress.data import list_images
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


def test_list_images_of_a_file_a_folder_and_a_list(folder):
    images = folder / "images"
    (images / "notes.md").touch()
    (images / "B.PNG").touch()
    (images / "deeper.jpg").mkdir()
    assert list_images(images / "a.jpg") == [images / "a.jpg"]
    assert [path.name for path in list_images(images)] == ["B.PNG", "a.jpg", "b.jpg", "c d.jpg"]
    (folder / "some.txt").write_text("images/b.jpg\n\nimages/c d.jpg\n")
    assert list_images(folder / "some.txt") == [images / "b.jpg", images / "c d.jpg"]


def test_list_images_says_what_is_wrong(folder):
    with pytest.raises(UserError, match=r"lost: no such file or folder"):
        list_images(folder / "lost")
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match="no images in it"):
        list_images(folder / "empty")
    (folder / "some.txt").write_text("images/a.jpg\nimages/lost.jpg\n")
    with pytest.raises(UserError, match=r"some\.txt:2: no such image"):
        list_images(folder / "some.txt")
