"""python -m fxsolve."""

import sys

from fxsolve.cli import main

if __name__ == "__main__":
    sys.exit(main())
