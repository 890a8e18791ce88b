"""Optimizers and learning-rate schedules built from the configuration."""
