"""Quantization-aware training: fake quantizers, PACT, the layers that carry them."""
