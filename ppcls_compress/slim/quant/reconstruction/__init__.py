"""The rounding of weights, learned layer by layer from calibration images; `run.reconstruct` does it."""
