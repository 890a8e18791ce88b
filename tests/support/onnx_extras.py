"""Whether what exports to ONNX and runs it is installed: a converter, ONNX and both runtimes."""

import pytest

from ppcls_compress.deploy.extras import TO_ONNX, missing

MISSING = missing([*TO_ONNX, "onnxruntime", "openvino"])
REASON = f"the extras onnx and openvino are needed, no {', '.join(MISSING)}"


def need(kind) -> None:
    """Skip the test where a format cannot be written or run."""
    lacking = missing((*kind.writes, *kind.runtimes[0].needs))
    if lacking:
        pytest.skip(f"the extra {kind.extra} is needed, no {', '.join(lacking)}")


needs_onnx = pytest.mark.skipif(bool(MISSING), reason=REASON)
