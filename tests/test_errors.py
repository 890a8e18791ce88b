import pytest

from ppcls_compress.errors import closest, cut, one_line, shortened, unknown


def test_a_long_value_loses_its_middle():
    assert shortened([1, 2]) == "[1, 2]"
    text = shortened("a" * 50 + "z" * 50)
    assert len(text) == 60
    assert text.startswith("'aaa")
    assert " ... " in text
    assert text.endswith("zzz'")
    assert shortened(10**5000) == "a int too long to write"


def test_a_message_of_several_lines_becomes_one():
    assert one_line("error:\n  (-215) empty \n in function 'resize'\n") == "error: (-215) empty in function 'resize'"
    assert len(one_line("x\n" * 100_000)) == 1000
    assert cut("abc", 3) == "abc"


@pytest.mark.parametrize("name", ["x" * 100_000, 10**400])
def test_nothing_is_compared_with_a_name_that_is_far_too_long(name):
    assert closest(name, ["epochs"]) is None
    assert len(unknown("key", name, [f"name{index}" for index in range(100)])) < 400
