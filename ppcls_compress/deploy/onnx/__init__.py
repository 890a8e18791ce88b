"""ONNX export: the float graph, its tidying, the layouts of the integer graph, and the runtimes.

`export` names the runtimes' packages when they are missing; nothing here imports them before they are needed.
"""
