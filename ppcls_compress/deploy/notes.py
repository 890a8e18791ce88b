"""Lines for the user that more than one format has to say."""

from __future__ import annotations


def binding(layer: str, alpha: float, limit: float) -> str:
    """A learned range is narrower than the grid that the layer's input is rounded to."""
    return f"{layer}: alpha {alpha:.4g} binds, it is below the observed range {limit:.4g}; clipped first"
