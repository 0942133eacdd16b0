#!/usr/bin/env bash
# The stranger test: a fresh clone in an empty folder, the README's first command as it stands there, and then the file
# that it wrote, by itself. Needs git, Python 3.11 and pip, and what pip downloads.
set -euo pipefail
repository="$(cd "$(dirname "$0")/.." && pwd)"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
git clone --quiet "$repository" "$folder/archlang"
cd "$folder/archlang"
command="$(python3.11 scripts/readme_command.py 1)"
echo "+ $command"
env -u PYTHONPATH -u VIRTUAL_ENV bash -euo pipefail -c "$command"
cp resnet50.py "$folder/"
cd "$folder"
"$folder/archlang/.venv/bin/python" -I - <<'PYTHON'
import runpy
import sys

import torch

classes = [value for value in runpy.run_path("resnet50.py").values() if isinstance(value, type)]
model = classes[-1]().eval()  # the entry block comes after all that it uses
with torch.no_grad():
    output = model(torch.rand(1, 3, 224, 224))
assert output.shape == (1, 1000), output.shape
assert "archlang" not in sys.modules
print("stranger test passed: resnet50.py runs by itself")
PYTHON
