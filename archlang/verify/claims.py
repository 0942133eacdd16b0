"""Decides the claims of `verify` blocks, without running a network: figures, result types, sets of sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

from archlang.elaborate.entry import Design
from archlang.elaborate.errors import Poisoned, fail
from archlang.elaborate.loader import LoadedModule
from archlang.elaborate.session import Limits
from archlang.ir.graph import Program
from archlang.report.diagnostic import ArchError, Diagnostic
from archlang.report.suggest import did_you_mean
from archlang.syntax import tree
from archlang.verify.claimed_reversible import check_reversible
from archlang.verify.claimed_sizes import check_sizes
from archlang.verify.claimed_types import check_type
from archlang.verify.figures import FIGURES, Measured, Part, Unknown, amount
from archlang.verify.quantities import PROPERTIES, Mention, Quantity, quantity
from archlang.verify.subject import Others, Subject, design_key, shown

__all__ = ["Claims"]

MOST_PARTS = 5
_WORDS = {"==": "", "!=": "other than ", "<=": "at most ", "<": "below ", ">=": "at least ", ">": "above "}
_FLIPPED = {"==": "==", "!=": "!=", "<=": ">=", "<": ">", ">=": "<=", ">": "<"}


class Claims:
    """The claims of one file. `made`: its designs; others that claims compare with are built once."""

    def __init__(self, module: LoadedModule, limits: Limits | None = None, made: Sequence[Design] = ()) -> None:
        self.others = Others(module, limits or Limits())
        for design in made:
            if design.done is not None:
                self.others.session = design.session
        for design in sorted(made, key=lambda design: design.verify is None):
            if design.done is not None:
                key = design_key(design.block, design.verify.inputs if design.verify is not None else ())
                self.others.known.setdefault(key, Measured(design.done.program))

    def check(self, verify: tree.Verify, program: Program) -> list[Diagnostic]:
        """What does not hold, or cannot be decided, of the claims about a design that was built."""
        key = design_key(verify.design.span.text, verify.inputs)
        measured = self.others.known.setdefault(key, Measured(program))
        subject = Subject(verify, measured, self.others)
        return [finding for claim in verify.claims for finding in _decide(subject, claim)]


_Check = Callable[[Subject, tree.Claim], list[Diagnostic]]


def _decide(subject: Subject, claim: tree.Claim) -> list[Diagnostic]:
    try:
        return _CHECKS[claim.kind](subject, claim)
    except Unknown as error:
        return [_undecided(claim, str(error))]
    except ArchError as error:
        return error.diagnostics
    except Poisoned:  # a name whose definition failed, which was reported
        return []


def _undecided(claim: tree.Claim, why: str, help: str | None = None) -> Diagnostic:
    return Diagnostic("ARC0805", f"this claim cannot be decided: {why}", claim.span, "", (), help)


# -- properties --------------------------------------------------------------------------------------------------------
def _property(subject: Subject, claim: tree.Claim) -> list[Diagnostic]:
    assert isinstance(claim.left, tree.Call)
    name = claim.left.func.span.text
    if name not in PROPERTIES:
        known = [*PROPERTIES, *FIGURES]
        help = did_you_mean(name, known) or f"the properties are {', '.join(f'`{p}(...)`' for p in PROPERTIES)}"
        fail("ARC0804", f"there is no property `{name}`", claim.left.func.span, help=help)
    return check_reversible(subject, claim, claim.left)


# -- comparisons -------------------------------------------------------------------------------------------------------
def _compare(subject: Subject, claim: tree.Claim) -> list[Diagnostic]:
    assert claim.right is not None
    if claim.op not in (*_WORDS, "in"):
        fail("ARC0806", f"`{claim.op}` is not a comparison of figures", claim.span, help="use `==`, `<=`, `in a .. b`")
    left = quantity(subject, claim.left)
    slack = _slack(subject, claim)
    if claim.op == "in":
        if not isinstance(claim.right, tree.Range):
            fail("ARC0806", "this is no interval", claim.right.span, help="write `params in 25M .. 26M`")
        low, high = quantity(subject, claim.right.lower), quantity(subject, claim.right.upper)
        tests = [(left, ">=", _moved(low, slack, -1)), (left, "<=", _moved(high, slack, 1))]
        said = f"{low.text(_unit(left))} .. {high.text(_unit(left))}"
        mentions = left.mentions + low.mentions + high.mentions
    else:
        right = quantity(subject, claim.right)
        tests = _tests(claim, left, right, slack)
        said = ""
        mentions = left.mentions + right.mentions
        if right.plain and not left.mentions:
            left, right = right, left
            said = _said(_FLIPPED[claim.op], right, _unit(left))
        elif not right.mentions:
            said = _said(claim.op, right, _unit(left))
        else:
            unit = _unit(left) if left.mentions else _unit(right)
            said = f"{_WORDS[claim.op]}{right.text(unit)}"
    if not mentions:
        fail("ARC0806", "this claim speaks of no figure", claim.span, help=f"the figures are {', '.join(FIGURES)}")
    for a, op, b in tests:
        finding = _test(subject, claim, a, op, b)
        if finding is not None:
            return [finding if finding.code != "ARC0801" else _failed(subject, claim, finding, left, said, mentions)]
    return []


def _said(op: str, value: Quantity, unit: str) -> str:
    return f"{_WORDS[op]}{value.text(unit)}"


def _unit(quantity: Quantity) -> str:
    return next((m.figure.unit for m in quantity.mentions), "")


def _slack(subject: Subject, claim: tree.Claim) -> tuple[Fraction, bool] | None:
    """The tolerance, and whether it is a part of the claimed value (`1%`) or an amount (`100k`)."""
    if claim.tolerance is None:
        return None
    value = quantity(subject, claim.tolerance)
    if value.exact is None or value.exact < 0 or value.mentions:
        fail("ARC0806", "a tolerance is a number that is not negative", claim.tolerance.span, help="such as `+- 1%`")
    return value.exact, claim.tolerance.span.text.rstrip(" )").endswith("%")


def _moved(value: Quantity, slack: tuple[Fraction, bool] | None, direction: int) -> Quantity:
    """The value, and the tolerance more or less."""
    if slack is None:
        return value
    amount, relative = slack
    if not relative:
        return value + Quantity(direction * amount.numerator, amount.denominator)
    negative = value.exact is not None and value.exact < 0
    return value.times(1 + (-amount if negative else amount) * direction)


def _tests(
    claim: tree.Claim, left: Quantity, right: Quantity, slack: tuple[Fraction, bool] | None
) -> list[tuple[Quantity, str, Quantity]]:
    if slack is None:
        return [(left, claim.op, right)]
    if claim.op == "!=":
        assert claim.tolerance is not None
        fail("ARC0806", "`!=` takes no tolerance", claim.tolerance.span)
    low, high = _moved(right, slack, -1), _moved(right, slack, 1)
    if claim.op == "==":
        return [(left, ">=", low), (left, "<=", high)]
    return [(left, claim.op, high if claim.op in ("<", "<=") else low)]


def _test(subject: Subject, claim: tree.Claim, left: Quantity, op: str, right: Quantity) -> Diagnostic | None:
    """None where it holds at all sizes of the design."""
    less = subject.measured.single(right.number * left.scale - left.number * right.scale)  # right - left, scaled
    size, relation = {
        "==": (less, "=="),
        "!=": (less, "=="),
        "<=": (less, ">="),
        "<": (less - 1, ">="),
        ">=": (-less, ">="),
        ">": (-less - 1, ">="),
    }[op]
    if op == "!=" and not isinstance(less, int):
        return _undecided(claim, "`!=` on figures that depend on the input's sizes", "name the sizes after `on`")
    verdict = subject.decide(size, relation)
    if verdict.holds is None:
        return _undecided(claim, f"it depends on the input's sizes: {less} against 0", "name the sizes after `on`")
    if verdict.holds == (op != "!="):
        return None
    at = f"at {shown(verdict.at)}" if verdict.at else ""
    return Diagnostic("ARC0801", "", claim.span, at)


def _failed(
    subject: Subject, claim: tree.Claim, finding: Diagnostic, left: Quantity, said: str, mentions: tuple[Mention, ...]
) -> Diagnostic:
    text = claim.left.span.text
    if claim.right is not None and left.plain and left.mentions and left.mentions[0].text == claim.right.span.text:
        text = claim.right.span.text
    message = f"`{text}` is {left.text(_unit(left))}, and the claim is {said}"
    notes = [note for m in _each(mentions) for note in _made_up(subject, m, len(_each(mentions)) > 1)]
    return Diagnostic(
        "ARC0801", message, claim.span, finding.label or _distance(left, claim, subject), (), None, tuple(notes)
    )


def _distance(left: Quantity, claim: tree.Claim, subject: Subject) -> str:
    """How far off, for a claim of one number."""
    right = (
        claim.left
        if claim.right is not None and left.mentions[:1] and claim.right.span.text == left.mentions[0].text
        else claim.right
    )
    if right is None or isinstance(right, tree.Range) or left.exact is None:
        return ""
    value = quantity(subject, right)
    if not value.exact:
        return ""
    off = left.exact - value.exact
    if not off:
        return ""
    percent = float(off / abs(value.exact) * 100)
    share = f"{percent:+,.0f}" if abs(percent) >= 10 else f"{percent:+.2g}"
    whole = Quantity(abs(off.numerator), off.denominator)
    return f"{whole.text(_unit(left))} {'more' if off > 0 else 'less'} ({share} %)"


def _each(mentions: tuple[Mention, ...]) -> list[Mention]:
    return list({m.text: m for m in mentions}.values())


def _made_up(subject: Subject, mention: Mention, several: bool) -> Iterator[str]:
    """The largest parts of a figure, as a table."""
    parts = mention.of.parts(mention.figure)
    head = f"`{mention.text}` = {amount(mention.value, mention.figure.unit)}"
    if not parts:
        if several:
            yield f"{head} ({mention.figure.what})"
        return
    rows = _rows(parts, mention)
    yield "\n".join([f"{head} {mention.figure.what}, of which", *rows])


def _rows(parts: list[Part], mention: Mention) -> list[str]:
    kept, rest = (parts, []) if len(parts) <= MOST_PARTS + 1 else (parts[:MOST_PARTS], parts[MOST_PARTS:])
    cells = [(p.name, p.size) for p in kept]
    if rest:
        cells.append((f"{len(rest)} others", sum((p.size for p in rest), start=0)))
    named = max(len(name) for name, _ in cells)
    texts = [f"{size:,}" if isinstance(size, int) else str(size) for _, size in cells]
    wide = max(map(len, texts))
    total = mention.value
    lines = []
    for (name, size), text in zip(cells, texts, strict=True):
        percent = f"  {100 * size / total:5.1f} %" if isinstance(size, int) and isinstance(total, int) and total else ""
        lines.append(f"{name:<{named}}  {text:>{wide}}{percent}")
    return lines


_CHECKS: dict[str, _Check] = {"compare": _compare, "type": check_type, "valid": check_sizes, "call": _property}
