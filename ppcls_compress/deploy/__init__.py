"""Artifacts that run without this toolkit, and the proof that they agree with the model that was trained."""
