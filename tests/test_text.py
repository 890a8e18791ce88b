import pytest

from ppcls_compress.errors import UserError
from ppcls_compress.text import encoding_of, read_text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_utf8_is_read_with_and_without_a_byte_order_mark(tmp_path, encoding, end):
    (tmp_path / "a.txt").write_bytes(f"猫 0{end}café 1{end}".encode(encoding))
    assert read_text(tmp_path / "a.txt") == "猫 0\ncafé 1\n"


@pytest.mark.parametrize(
    ("text", "encoding", "name"),
    [
        ("输出目录: ./结果\n类别: 猫和狗", "gb18030", "GBK"),
        ("0 狗\n1 鸟\n", "gbk", "GBK"),
        ("0 café\n1 naïve", "cp1252", "WINDOWS-1252"),
        ("0 Äpfel\n1 Öl\n", "latin-1", "WINDOWS-1252"),
        ("0 cat", "utf-16", "UTF-16"),
        ("0 cat", "utf-32", "UTF-32"),
        ("0 카페\n1 멍멍이 겉", "cp949", None),
    ],
)
def test_another_encoding_is_told(tmp_path, text, encoding, name):
    (tmp_path / "names.txt").write_bytes(b"# plain\n" * (encoding[:3] != "utf") + text.encode(encoding))
    with pytest.raises(UserError, match=r"names\.txt: not a text file in UTF-8, first in line \d") as error:
        read_text(tmp_path / "names.txt")
    if name is not None:
        assert f"it looks like {name}: iconv -f {name} -t UTF-8 {tmp_path}/names.txt > NEW_FILE" in str(error.value)


def test_bytes_that_are_no_text_get_no_name():
    assert encoding_of(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR") is None
    assert encoding_of(b"\x81\x8d\x8f") is None


def test_what_cannot_be_read_and_what_is_too_large(tmp_path):
    with pytest.raises(UserError, match="lost: cannot be read: No such file"):
        read_text(tmp_path / "lost")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_text(tmp_path)
    (tmp_path / "a").write_text("12345")
    assert read_text(tmp_path / "a", limit=5) == "12345"
    with pytest.raises(UserError, match="a: larger than 4 bytes"):
        read_text(tmp_path / "a", limit=4)
