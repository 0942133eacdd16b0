"""Loads a published checkpoint into a network that is compiled from its spec, and looks at what it gives.

    python checkpoint.py [FILE]

FILE holds a state dict of torchvision's ResNet-18, such as the one that torchvision downloads. Without it, torchvision
makes one with random weights, so that nothing is downloaded.
"""

import sys
from pathlib import Path

import torch

import archlang

SPECS = Path(__file__).parents[1] / "specs"


def main() -> None:
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    reference = None
    if len(sys.argv) > 1:
        weights = torch.load(sys.argv[1], weights_only=True)
    else:
        from torchvision.models import resnet18  # type: ignore[import-untyped]

        reference = resnet18().eval()
        weights = reference.state_dict()
    model = archlang.build(SPECS / "resnet.arch", "resnet18").eval()
    model.load_state_dict(weights, strict=True)
    print(f"{len(weights)} tensors loaded, all names and shapes agree")
    with torch.no_grad():
        if reference is not None:
            print("the outputs are equal:", torch.allclose(model(image), reference(image), atol=1e-5))

        # Another head, for ten classes: all weights but those of `fc` are kept.
        tuned = archlang.build(SPECS / "resnet.arch", "resnet18", classes=10)
        body = {name: weight for name, weight in weights.items() if not name.startswith("fc.")}
        lacking = tuned.load_state_dict(body, strict=False).missing_keys
        print(f"with ten classes, {', '.join(lacking)} are new:", tuple(tuned(image).shape))


if __name__ == "__main__":
    main()
