"""What the papers of networks over several resolutions say of them, beyond what `verify` can claim."""

from __future__ import annotations

import pytest
import torch

import archlang
from tests.parity.oracles import SPECS


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_a_pruned_unetpp_equals_the_whole_at_its_heads(levels: int) -> None:
    """Zhou et al., 2018, figure 3: L1 to L3 of L4, bit for bit, and with the weights that the whole has for them."""
    params = {"widths": [4, 6, 8, 10, 12], "channels": 3}
    whole = archlang.build(SPECS / "unetpp.arch", "unetpp", **params).eval()
    pruned = archlang.build(SPECS / "unetpp.arch", "unetpp", levels=levels, **params).eval()
    state = whole.state_dict()
    pruned.load_state_dict({key: state[key] for key in pruned.state_dict()}, strict=True)
    image = torch.randn(2, 3, 32, 48)
    with torch.no_grad():
        maps, expected = pruned(image), whole(image)
    assert len(maps) == levels and len(expected) == 4
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(maps, expected, strict=False))
