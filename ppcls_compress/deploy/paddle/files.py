"""Names of the files that Paddle Inference loads."""

PROGRAM = ("inference.json", "inference.pdiparams")
"""Of Paddle 3: the program and its parameters."""
OLDER_PROGRAM = ("inference.pdmodel", "inference.pdiparams")
"""Of Paddle 2, which oneDNN's integer kernels take."""
