"""Exact structured pruning of any convolutional network."""
