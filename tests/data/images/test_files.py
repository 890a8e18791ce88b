import os
import socket

import pytest

from ppcls_compress.data.images import BadImageError, files, read_image


def test_reading_names_the_file(tmp_path):
    with pytest.raises(BadImageError, match=r"gone\.jpg: cannot be read: No such file"):
        read_image(tmp_path / "gone.jpg")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(BadImageError, match=r"empty\.jpg: the file is empty"):
        read_image(tmp_path / "empty.jpg")
    (tmp_path / "a.jpg").write_bytes(b"content")
    assert read_image(tmp_path / "a.jpg") == b"content"
    with pytest.raises(BadImageError, match="not the name of a file"):
        read_image("a\0.jpg")


def test_only_regular_files_are_read_and_a_pipe_is_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(BadImageError, match=r"pipe\.jpg: not a regular file, but a pipe"):
        read_image(tmp_path / "pipe.jpg")
    with pytest.raises(BadImageError, match="cannot be read: Is a directory"):
        read_image(tmp_path)
    with pytest.raises(BadImageError, match="/dev/zero: not a regular file, but a device"):
        read_image("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # the address of a socket has at most 107 characters
        listener.bind("socket.jpg")
        with pytest.raises(BadImageError, match=r"socket\.jpg: cannot be read"):
            read_image(tmp_path / "socket.jpg")


def test_a_link_to_a_file_is_read_and_one_to_a_pipe_is_not(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"content")
    (tmp_path / "link.jpg").symlink_to("a.jpg")
    assert read_image(tmp_path / "link.jpg") == b"content"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "b.jpg").symlink_to("pipe")
    with pytest.raises(BadImageError, match=r"b\.jpg: not a regular file, but a pipe"):
        read_image(tmp_path / "b.jpg")


def test_a_file_larger_than_any_image_is_not_read(tmp_path):
    with open(tmp_path / "hole.jpg", "wb") as file:
        file.truncate(files._LARGEST + 1)
    with pytest.raises(BadImageError, match=r"hole\.jpg: 1,073,741,825 bytes, more than any image has"):
        read_image(tmp_path / "hole.jpg")
