"""Structured pruning: whole channels are removed from any network, exactly."""

from ppcls_compress.slim.prune.cut.recalibration import recalibrate
from ppcls_compress.slim.prune.pruner import prune
from ppcls_compress.slim.prune.record import apply_record

__all__ = ["apply_record", "prune", "recalibrate"]
