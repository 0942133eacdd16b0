"""Shows what a spec defines: blocks and functions with their signatures, and what their docs say."""

from __future__ import annotations

import argparse
import sys
import textwrap

from archlang.cli.arguments import Parser, add_limits, choice, limits
from archlang.syntax.signatures import definitions, signature
from archlang.syntax.tree import Block, Extern, Function


def configure(parser: Parser) -> None:
    parser.add_argument("spec", metavar="SPEC", help="an .arch file")
    parser.add_argument("--format", type=choice("text", "json"), default="text", metavar="FORM", help="text or json")
    add_limits(parser)


def run(args: argparse.Namespace) -> int:
    from archlang.cli.files import load

    module = load(args.spec, limits(args))
    if args.format == "json":
        import json

        items = [_as_dict(item) for item in definitions(module.syntax)]
        print(json.dumps({"path": args.spec, "doc": module.syntax.doc, "items": items}))
        return 0
    parts = [_doc(module.syntax.doc, "")] if module.syntax.doc else []
    parts += [signature(item) + "\n" + _doc(item.doc, "    ") for item in definitions(module.syntax)]
    sys.stdout.write("\n".join(parts) or f"`{args.spec}` defines nothing\n")
    return 0


def _doc(doc: str, indent: str) -> str:
    return textwrap.indent(doc.strip(), indent) + "\n" if doc.strip() else ""


def _as_dict(item: Block | Extern | Function) -> dict[str, object]:
    kind = {Block: "block", Extern: "extern", Function: "function"}[type(item)]
    return {"kind": kind, "name": item.name, "signature": signature(item), "doc": item.doc, "line": item.span.line}
