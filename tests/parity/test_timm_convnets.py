"""Convolutional networks against timm."""

from __future__ import annotations

import pytest

from tests.parity.oracles import assert_layout, assert_parity, timm_model


def test_dpn68() -> None:
    assert_parity("dpn.arch", "dpn68", timm_model("dpn68"), (2, 3, 33, 33))


@pytest.mark.parametrize("entry", ["dpn92", "dpn98", "dpn131", "dpn107"])
def test_dpn_layout(entry: str) -> None:
    assert_layout("dpn.arch", entry, lambda: timm_model(entry))
