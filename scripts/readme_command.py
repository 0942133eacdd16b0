"""Prints the README's first or second set-up command: `python scripts/readme_command.py 1`."""

import re
import sys
from pathlib import Path


def commands(text: str) -> list[str]:
    """The one-line shell blocks under "Set-up"."""
    section = re.split(r"^## ", text.partition("\n## Set-up\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    return [block.strip() for block in re.findall(r"^```sh\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)]


if __name__ == "__main__":
    readme = Path(__file__).resolve().parent.parent / "README.md"
    print(commands(readme.read_text(encoding="utf-8"))[int(sys.argv[1]) - 1])
