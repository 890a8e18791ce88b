"""`python -m ppcls_compress train ...`: the same as `ppcls-compress train ...`."""

import sys

from ppcls_compress.cli import main

if __name__ == "__main__":
    sys.exit(main())
