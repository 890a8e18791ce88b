import pytest

from ppcls_compress.config.profiler import parse_profiler
from ppcls_compress.errors import ConfigError


def test_options_are_read():
    options = parse_profiler("batch_range=[2, 5]; timer_only=False; sorted_key=max")
    assert (options.batch_range, options.timer_only, options.sorted_key) == ((2, 5), False, "CPUMax")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("batch_rnge=[1,2]", "-p: unknown key 'batch_rnge'; did you mean 'batch_range'?"),
        ("batch_range=[5,2]", "-p: batch_range: the first batch must come before the last, found [5, 2]"),
        ("sorted_key=CPUTotl", "-p: sorted_key: found 'CPUTotl'; did you mean 'CPUTotal'?"),
        ("timer_only", "expected key=value;key=value, found 'timer_only'"),
    ],
)
def test_a_wrong_option_is_one_line(text, expected):
    with pytest.raises(ConfigError) as error:
        parse_profiler(text)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)
