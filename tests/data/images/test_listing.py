import pytest

from ppcls_compress.data import left_out, list_images
from ppcls_compress.errors import UserError


@pytest.fixture
def folder(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for name in ("a.jpg", "B.PNG", "c d.webp", "e.gif", "f.tif", "g.TIFF", "h.ppm", "notes.md", "list.csv"):
        (images / name).write_bytes(b"x")
    (images / "deeper.jpg").mkdir()
    (images / "deeper.jpg" / "b.jpg").write_bytes(b"x")
    (images / ".hidden").mkdir()
    (images / ".hidden" / "b.jpg").write_bytes(b"x")
    (images / "again").symlink_to(images)
    return tmp_path


def test_list_images_of_a_file_a_folder_and_a_list(folder):
    images = folder / "images"
    assert list_images(images / "a.jpg") == [images / "a.jpg"]
    found = ["B.PNG", "a.jpg", "c d.webp", "e.gif", "f.tif", "g.TIFF", "h.ppm", "deeper.jpg/b.jpg"]
    assert [str(path.relative_to(images)) for path in list_images(images)] == found
    (folder / "some.txt").write_bytes("\ufeffimages/a.jpg\r\n\r\nimages/c d.webp\r\n".encode())
    assert list_images(folder / "some.txt") == [images / "a.jpg", images / "c d.webp"]


def test_what_a_folder_holds_beside_images_is_named(folder):
    assert left_out(folder / "images") == [".hidden/", "again/", "list.csv", "notes.md"]
    assert left_out(folder / "images" / "a.jpg") == []


def test_list_images_says_what_is_wrong(folder):
    with pytest.raises(UserError, match=r"lost: no such file or folder"):
        list_images(folder / "lost")
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match="no images in it; looked for .avif, .bmp, .gif"):
        list_images(folder / "empty")
    (folder / "some.txt").write_text("images/a.jpg\nimages/lost.jpg\n")
    with pytest.raises(UserError, match=r"some\.txt:2: no such image .*lost\.jpg$"):
        list_images(folder / "some.txt")
    (folder / "some.txt").write_text("images/a.jpg 0\n")
    with pytest.raises(UserError, match=r"some\.txt:1: no such image .*; the line goes on after the name of the image"):
        list_images(folder / "some.txt")
    (folder / "some.txt").write_text("images\\a.jpg\n")
    with pytest.raises(UserError, match=r"some\.txt:1: .*; the list writes . between folders"):
        list_images(folder / "some.txt")
