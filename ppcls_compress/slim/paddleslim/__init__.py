"""Everything that exists because PaddleSlim does: its classes, its state dicts, itself as a backend.

Stands on top of `slim.prune` and `slim.quant`, which never import it.
"""
