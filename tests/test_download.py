from __future__ import annotations

import errno
import hashlib
import shutil

import pytest

from ppcls_compress.download import cache_path, fetch
from ppcls_compress.errors import UserError

CONTENT = bytes(range(256)) * 400


@pytest.fixture
def server(file_server):
    file_server.files["/models/a.bin"] = CONTENT
    return file_server


def test_downloads_once_and_keeps_the_checksum(server, tmp_path):
    url = server.url + "/models/a.bin"
    path = fetch(url)
    assert path == cache_path(url)
    assert path.is_relative_to(tmp_path / "cache")
    assert path.read_bytes() == CONTENT
    assert fetch(url) == path
    assert server.requests == ["/models/a.bin"]
    kept = path.with_name("a.bin.sha256").read_text()
    assert kept == f"{hashlib.sha256(CONTENT).hexdigest()}  a.bin\n"  # as sha256sum writes it
    assert sorted(file.name for file in path.parent.iterdir()) == ["a.bin", "a.bin.sha256"]


def test_a_download_that_breaks_off_leaves_nothing(server):
    url = server.url + "/cut/models/a.bin"
    with pytest.raises(UserError, match=r"cannot be downloaded \(.*51200 of 102400") as error:
        fetch(url)
    assert f"put it at {cache_path(url)}" in str(error.value)
    assert list(cache_path(url).parent.iterdir()) == []


@pytest.mark.parametrize("path", ["/models/b.bin", ""])
def test_a_missing_file_says_where_to_put_it(server, path):
    url = server.url + path
    with pytest.raises(UserError, match=r"cannot be downloaded .*404") as error:
        fetch(url)
    assert str(cache_path(url)) in str(error.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.bin", "http://no-such-host.invalid/a.bin", "http:///a.bin"])
def test_an_unreachable_host_says_where_to_put_the_file(server, url):
    with pytest.raises(UserError, match="cannot be downloaded") as error:
        fetch(url)
    assert str(cache_path(url)) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_damaged_cache_is_noticed(server):
    path = fetch(server.url + "/models/a.bin")
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match=r"a\.bin: not what was downloaded.*delete it"):
        fetch(server.url + "/models/a.bin")
    path.unlink()
    assert fetch(server.url + "/models/a.bin").read_bytes() == CONTENT
    path.with_name("a.bin.sha256").write_text("")
    with pytest.raises(UserError, match="not what was downloaded"):
        fetch(server.url + "/models/a.bin")


def test_a_file_put_there_by_hand_counts(server):
    url = server.url + "/models/elsewhere.bin"
    path = cache_path(url)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    assert fetch(url).read_bytes() == b"mine"
    assert fetch(url, checksum=("md5", hashlib.md5(b"mine").hexdigest())) == path
    assert server.requests == []


def test_a_published_checksum_is_verified(server):
    url = server.url + "/models/a.bin"
    with pytest.raises(UserError, match=r"a\.bin: its md5 is .*, the published file's is 0123"):
        fetch(url, checksum=("md5", "0123"))
    assert not cache_path(url).exists()
    fetch(url, checksum=("md5", hashlib.md5(CONTENT).hexdigest().upper()))


def test_equal_file_names_do_not_meet(monkeypatch, tmp_path):
    monkeypatch.setenv("PPCLS_COMPRESS_CACHE", str(tmp_path))
    urls = ["http://a/x/m.bin", "http://b/x/m.bin", "http://a/y/m.bin", "http://a:80/x/m.bin", "http://a/x/m.bin?v=2"]
    paths = {cache_path(url) for url in urls}
    assert len(paths) == len(urls)
    assert cache_path("http://user:secret@a/../../%2e%2e/m.bin") == tmp_path / "a" / "m.bin"


def test_the_cache_is_in_the_home_folder_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("PPCLS_COMPRESS_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_path("https://a/m.bin") == tmp_path / ".cache" / "ppcls_compress" / "a" / "m.bin"


def test_a_cache_that_cannot_be_written_is_no_fault_of_the_download(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PPCLS_COMPRESS_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="file/.*: cannot be made a folder: Not a directory"):
        fetch(server.url + "/models/a.bin")

    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(UserError, match=r"b\.bin: cannot be written: No space left on device$"):
        fetch(server.url + "/models/a.bin", tmp_path / "b.bin")
    assert [path.name for path in tmp_path.iterdir() if "bin" in path.name] == []
