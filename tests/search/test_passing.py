import pytest

from ppcls_compress.errors import UserError
from ppcls_compress.search.passing import may_pass


def caused(error, cause):
    try:
        raise error from cause
    except type(error) as found:
        return found


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (caused(UserError("latest: cannot be written"), OSError(28, "No space left on device")), True),
        (caused(UserError("outer"), caused(UserError("inner"), MemoryError())), True),
        (UserError("ppcls_compress.deploy.verify: crashed with SIGKILL: it wrote nothing"), True),
        (UserError("ppcls_compress.deploy.verify: failed: a.npy: cannot be written: No space left on device"), True),
        (UserError("training stopped: the loss is NaN"), False),
        (caused(UserError("the file disagrees with the model"), ValueError("shape")), False),
    ],
)
def test_only_what_says_nothing_of_the_candidate_may_pass(error, expected):
    assert may_pass(error) is expected
