"""What rounds a tensor: fake quantizers of activations and of weights, and how their ranges are found."""
