"""`python -m archlang` is `archc`."""

from __future__ import annotations

import sys

from archlang.cli import main

if __name__ == "__main__":
    sys.exit(main())
