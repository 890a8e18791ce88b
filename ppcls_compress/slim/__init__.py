"""Pruning and quantization for any `paddle.nn.Layer`; imports only Paddle and NumPy."""
