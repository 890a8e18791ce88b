"""What the processor can compute that the tests run on."""

import pytest

from ppcls_compress import machine

SATURATES = machine.int8_note() is not None
REASON = "this processor has no int8 dot products: runtimes add two products of int8 in 16 bits, which saturate"
needs_dot_products = pytest.mark.skipif(SATURATES, reason=REASON)
