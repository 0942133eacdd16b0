#!/usr/bin/env bash
# Installs the reference implementations that the tests compare with: scripts/install-oracles.sh [PYTHON]
# torch must be there already: a reference built for another torch would otherwise replace it.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${1:-python3.11}"
"$python" -c 'import torch' || { echo "install torch first: pip install -c constraints.txt torch" >&2; exit 1; }
"$python" -m pip install --quiet --no-deps -r tests/constraints-oracles.txt
# Only looked up: a torchvision for CUDA cannot be imported as it is beside a CPU-only torch; the tests see to that.
"$python" -c 'from importlib.util import find_spec as f; assert all(map(f, "torchvision timm pytorchcv transformers torch_pruning".split()))'
