"""Compress PaddlePaddle image classifiers: FPGM pruning, PACT quantization-aware training, verified export."""

__version__ = "0.1.0"
