"""Networks that give several tensors by name."""

from __future__ import annotations

import paddle


class NamedOutputs(paddle.nn.Layer):
    """A network that gives tensors by name.

    Attributes:
        exported: the one that is deployed.
    """

    exported: str
