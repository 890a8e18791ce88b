import pytest

from ppcls_compress.declare.arithmetic import parse_number


@pytest.mark.parametrize(
    ("text", "value"),
    [("1.0/255.0", 1 / 255), ("1e-8", 1e-8), ("-(2 + 3) * 4", -20), (" 7 ", 7), ("0.1*64/256", 0.025)],
)
def test_numbers_and_arithmetic(text, value):
    assert parse_number(text) == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "abc",
        "1/0",
        "2**9",
        "__import__('os').system('true')",
        "(1).real",
        "[1]",
        "True",
        "'1'",
        "1 if 1 else 2",
        "1" * 200,
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        parse_number(text)
