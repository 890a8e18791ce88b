"""Policies: which changes of an image follow one another, how strong, how often."""
