"""Which tensors an integer graph rounds, and their quantizers in training."""
