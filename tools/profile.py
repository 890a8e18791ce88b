"""`python tools/profile.py ...`: the same as `ppcls-compress profile ...`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ppcls_compress.cli import main

if __name__ == "__main__":
    sys.exit(main(command=Path(__file__).stem))
