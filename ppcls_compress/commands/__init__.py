"""The commands behind `ppcls-compress` and `tools/`: one file each, which reads the arguments and calls the parts.

Each file has `add_arguments(parser)` and `run(args)`; nothing heavy is imported before the configuration is checked.
"""
