"""Paddle Inference: float programs, fake-quantized ones, and integer ones for oneDNN."""
