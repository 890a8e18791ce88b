"""Optimizers and learning-rate schedules: their options (no Paddle), and how they are built (`optim.build`)."""
