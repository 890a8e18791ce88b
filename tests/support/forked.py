"""Ends as a process that a server forks: `python forked.py SERVER PYTHONPATH COMMAND MODULE ARGUMENTS`.

It lends its standard streams, its environment and its folder to that. With another PYTHONPATH, which is read when
Python starts, it becomes COMMAND instead, a JSON list.
"""

import json
import os
import signal
import socket
import sys

address, path, command, module, *arguments = sys.argv[1:]
if os.environ.get("PYTHONPATH") != path:
    words = json.loads(command)
    os.execv(words[0], words)
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
    folder, name = os.path.split(address)
    server.connect(f"/proc/self/fd/{os.open(folder, os.O_PATH)}/{name}")  # an address has at most 107 characters
    told = {"module": module, "arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}
    socket.send_fds(server, [json.dumps(told).encode()], [0, 1, 2])
    code = json.loads(server.recv(100) or "1")
if code < 0:
    if -code != signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
