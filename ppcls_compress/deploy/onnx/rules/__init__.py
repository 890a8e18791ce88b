"""Fusions: each says what it replaces by what, and at debug level why it left a place alone."""
