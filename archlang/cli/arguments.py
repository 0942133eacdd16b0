"""What command lines have in common: a parser that explains its errors, and the arguments that commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from archlang.cli.guard import UsageError
from archlang.report.suggest import did_you_mean

if TYPE_CHECKING:
    from archlang.elaborate import Limits, LoadedModule
    from archlang.syntax.tree import Expr

__all__ = [
    "DTYPES",
    "Parser",
    "add_design",
    "add_limits",
    "add_training",
    "choice",
    "design",
    "limits",
    "parameter_values",
    "positive",
    "split_assignment",
]

DTYPES = ("float32", "bfloat16", "float16")  # those of `reversible.kept.DRIFT`


class Parser(argparse.ArgumentParser):
    """argparse, with whole option names only, near misses named, and no exit of its own."""

    def __init__(self, prog: str, description: str | None) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)

    def parse_strictly(self, argv: Sequence[str]) -> argparse.Namespace:
        """Like parse_args; raises UsageError."""
        known = [option for action in self._actions for option in action.option_strings]
        for word in argv:
            if word == "--":
                break
            name = word.split("=")[0]
            if word.startswith("--") and name not in known:
                options = ", ".join(sorted(o for o in known if o.startswith("--")))
                help = did_you_mean(name, known) or f"its options are {options}"
                raise UsageError("ARC0901", f"`{self.prog}` has no option `{name}`", help)
        return self.parse_args(argv)

    def error(self, message: str) -> NoReturn:
        usage = " ".join(self.format_usage().split())
        raise UsageError("ARC0901", message.replace("argument ", "", 1), usage)


def choice(*names: str) -> Callable[[str], str]:
    """An argparse type: one of the names, near misses explained."""

    def convert(text: str) -> str:
        if text in names:
            return text
        hint = did_you_mean(text, names) or "it is one of " + ", ".join(f"`{n}`" for n in names)
        raise argparse.ArgumentTypeError(f"there is no `{text}`; {hint}")

    return convert


def positive(text: str) -> int:
    """An argparse type: a whole number above 0; 1_000 and suffixes k, M, G are understood."""
    scale = {"k": 10**3, "M": 10**6, "G": 10**9}.get(text[-1:], 1)
    digits = text if scale == 1 else text[:-1]
    try:
        value = int(digits) * scale
    except ValueError:
        value = 0
    if value <= 0:
        raise argparse.ArgumentTypeError(f"`{text}` is not a whole number above 0")
    return value


def add_training(parser: argparse.ArgumentParser, *, overlap: bool) -> None:
    """How reversible blocks are trained (docs/drift.md)."""
    text = f"what their branches are trained in, by which anchors stand: {', '.join(DTYPES)} (default: float32)"
    parser.add_argument("--dtype", type=choice(*DTYPES), default="float32", metavar="TYPE", help=text)
    if overlap:
        text = "on a GPU, rebuild a step of a reversible block while gradients of another are computed"
        parser.add_argument("--overlap", action="store_true", help=text)


def split_assignment(text: str, option: str) -> tuple[str, str]:
    """`name=value` of a repeatable option."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip().isidentifier() or not value.strip():
        raise UsageError("ARC0906", f"`{option} {text}` is not of the form name=value")
    return name.strip(), value.strip()


def add_limits(parser: Parser) -> None:
    """Options that bound the work, for specs larger than anyone expected."""
    parser.add_argument("--max-bytes", type=positive, metavar="N", help="read specs of up to N bytes")


def limits(args: argparse.Namespace) -> Limits:
    """The limits that the command line asks for."""
    from archlang.elaborate import Limits

    return Limits(source_bytes=args.max_bytes) if args.max_bytes else Limits()


def add_design(parser: Parser) -> None:
    """The spec, and which block of it with which arguments."""
    parser.add_argument("spec", metavar="SPEC", help="an .arch file")
    parser.add_argument("-e", "--entry", metavar="BLOCK", help="the block to build (default: the last that can be)")
    text = "set a parameter of the block; VALUE is written as in a spec (repeatable)"
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=text)
    add_limits(parser)


def design(args: argparse.Namespace) -> tuple[LoadedModule, str | None, dict[str, Expr]]:
    """Loads the spec, checks the names of block and parameters against it, and parses the values."""
    from archlang.cli.files import load

    module = load(args.spec, limits(args))
    if args.entry is not None and args.entry not in module.blocks:
        raise unknown_entry(args.entry, args.spec, module)
    values = parameter_values(args.set, [module.blocks[args.entry]] if args.entry is not None else [])
    return module, args.entry, values


def parameter_values(options: Sequence[str], blocks: Sequence[Any]) -> dict[str, Expr]:
    """The values of `--set` options, parsed; their names are checked against the blocks."""
    values = {}
    for text in options:
        name, value = split_assignment(text, "--set")
        if name in values:
            raise UsageError("ARC0906", f"`--set {name}=...` is given twice")
        values[name] = _value(text, value)
    for block in blocks:
        _check_parameters(block, values)
    return values


def unknown_entry(entry: str, spec: str, module: Any) -> UsageError:
    """Says which blocks there are."""
    names = list(module.blocks)
    listed = ", ".join(f"`{n}`" for n in names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    hint = did_you_mean(entry, names)
    notes = [f"its blocks are {listed}" if names else "it defines no blocks"]
    return UsageError("ARC0907", f"`{spec}` has no block `{entry}`", hint, notes)


def _value(text: str, value: str) -> Expr:
    """A value as in a spec. Mistakes point into the command line."""
    from archlang.report.diagnostic import Source
    from archlang.syntax.parser import parse_expression

    return parse_expression(Source(f"--set {text.partition('=')[0]}", value))


def _check_parameters(block: Any, values: dict[str, Expr]) -> None:
    known = [p.name for p in block.params]
    for name in values:
        if name not in known:
            hint = did_you_mean(name, known)
            listed = ", ".join(f"`{n}`" for n in known)
            note = f"its parameters are {listed}" if known else "it has no parameters"
            raise UsageError("ARC0908", f"block `{block.name}` has no parameter `{name}`", hint, [note])
