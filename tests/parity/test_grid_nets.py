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


def test_deep_supervision_is_there_in_training_only() -> None:
    """Lee et al., 2014: in evaluation it is the plain network; in training, companions reach what is before them."""
    supervised = archlang.build(SPECS / "dsn.arch", "dsn")
    plain = archlang.build(SPECS / "dsn.arch", "network_in_network")
    state = supervised.state_dict()
    plain.load_state_dict({key: state[key] for key in plain.state_dict()}, strict=True)
    assert {key.split(".")[0] for key in state.keys() - plain.state_dict().keys()} == {"ip_svm1", "ip_svm2", "ip_svm3"}
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(supervised.eval()(image), plain.eval()(image))
    scores, sides = supervised.train()(image)
    assert scores.shape == (2, 10)
    for number, side in enumerate(sides, 1):
        reached = torch.autograd.grad(side.sum(), list(supervised.parameters()), retain_graph=True, allow_unused=True)
        names = {key for (key, _), g in zip(supervised.named_parameters(), reached, strict=True) if g is not None}
        assert f"conv{number}.weight" in names and f"ip_svm{number}.weight" in names
        assert f"conv{number + 1}.weight" not in names and f"cccp{2 * number}.weight" not in names
