"""`python -m archlang` is `archc`."""

from __future__ import annotations

import sys

from archlang.cli import console

if __name__ == "__main__":
    sys.exit(console())
