"""Whether what exports to ONNX and runs it is installed: a converter, ONNX and both runtimes."""

import pytest

from ppcls_compress.deploy.extras import TO_ONNX, missing

MISSING = missing([*TO_ONNX, "onnxruntime", "openvino"])
REASON = f"the extras onnx and openvino are needed, no {', '.join(MISSING)}"
needs_onnx = pytest.mark.skipif(bool(MISSING), reason=REASON)
