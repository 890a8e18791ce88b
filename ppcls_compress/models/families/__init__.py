"""What each family of backbones declares before Paddle is loaded: its names, and what a config may say of them.

A file `X` here declares the networks that `ppcls_compress/models/X.py` builds.
"""
