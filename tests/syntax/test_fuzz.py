"""Damaged text: whatever is cut, doubled or swapped, the outcome is a tree or diagnostics that point into the text."""

from __future__ import annotations

import random

from archlang.report.codes import CODES
from archlang.report.diagnostic import ArchError, Source
from archlang.syntax import parse
from archlang.syntax.tokens import scan

from .test_items import TOUR


def test_damaged_specs() -> None:
    rng = random.Random(1)
    source = Source("tour.arch", TOUR)
    tokens, _ = scan(source, 0, len(TOUR), [], 10**6)
    refused = 0
    for _ in range(300):
        words = [token.text for token in tokens]
        for _ in range(rng.randrange(1, 4)):
            i, j = rng.randrange(len(words)), rng.randrange(len(words))
            match rng.randrange(4):
                case 0:
                    words[i] = ""
                case 1:
                    words[i], words[j] = words[j], words[i]
                case 2:
                    words[i] = words[j]
                case 3:
                    words[i] = words[i][: len(words[i]) // 2] + rng.choice("#\"'{}()[];:=,.\x01é")
        text = " ".join(words)
        try:
            parse(Source("damaged.arch", text))
        except ArchError as error:
            refused += 1
            for found in error.diagnostics:
                assert found.code in CODES and found.span is not None
                assert 0 <= found.span.start <= found.span.end <= len(text)
    assert refused > 150


def test_every_prefix_ends() -> None:
    for end in range(0, len(TOUR), 13):
        text = TOUR[:end]
        try:
            parse(Source("cut.arch", text))
        except ArchError as error:
            assert len(error.diagnostics) <= 3, (text[-80:], error.diagnostics)
