"""The process that is killed while files take their places: `python -m support.killed_export FOLDER RENAMES`."""

import os
import signal
import sys

from ppcls_compress.deploy import artifact


def main(folder, at):
    """Write an artifact; the process kills itself when it is to rename a file after so many."""
    replace, done = os.replace, []

    def killing(source, target):
        if len(done) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        done.append(replace(source, target))

    os.replace = killing
    with artifact.staged(folder, ["a", "b"]) as staging:
        for name in ("a", "b"):
            (staging / name).write_text(f"{name} {at}")
        artifact.write_description(staging, artifact.Description((3, 8, 8)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
