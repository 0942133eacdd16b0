"""The `archc` command. Commands are one file each, imported only when called."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["console", "main"]

COMMANDS = {
    "check": "find mistakes in specs",
    "compile": "turn a spec into a PyTorch module (or its IR)",
    "new": "start a spec from a connection scheme",
    "verify": "run a spec's networks on tensors without data, and compare with all that is predicted",
    "run": "build a spec's network and run it on random input",
    "diff": "show what changed between two specs, or two revisions of one",
    "explain": "say what a diagnostic code means",
    "cost": "show what a network costs: parameters, operations, memory",
    "plan": "show how training can do with less memory, and what that costs",
    "groups": "show which channels of which weights go together",
    "optimize": "show what the optimiser makes of a network, pass by pass",
    "transform": "rewrite a network as you ask, and say what became of its function",
    "prune": "write a smaller spec, without some channels of each group, and the slices of its weights",
    "list": "show the blocks of a spec, with signatures and docs",
    "compare-keys": "compare a spec's parameter names and shapes with a checkpoint's",
}

EPILOG = """\
exit status: 0 fine, 1 findings in a spec, 2 wrong command line or files that cannot be read or written,
3 an error in archc itself, 130 interrupted

`archc COMMAND --help` says more about a command."""


def console() -> int:
    """The command line of a process of its own. Graphs and syntax trees live until it ends: looking for garbage in them
    finds none, and nobody needs them taken apart at the end."""
    import gc
    import os

    gc.set_threshold(2_000_000)
    status = main()
    if "torch" not in sys.modules:  # which has threads to stop
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit status."""
    from archlang.cli.guard import guarded

    words = [*(sys.argv[1:] if argv is None else argv)]  # not `list`: that is a command here
    return guarded(lambda: _dispatch(words))


def _dispatch(argv: list[str]) -> int:
    if argv and argv[0] in {"-V", "--version", "version"}:
        from archlang import __version__

        print(f"archc {__version__}")
        return 0
    if not argv or argv[0] in {"-h", "--help", "help"}:
        print(_usage())
        return 0 if argv else 2
    if argv[0] not in COMMANDS:
        _unknown(argv[0])
    from importlib import import_module

    from archlang.cli.arguments import Parser

    name, *rest = argv
    module = import_module(f"archlang.cli.{name.replace('-', '_')}")
    parser = Parser(prog=f"archc {name}", description=module.__doc__)
    module.configure(parser)
    return int(module.run(parser.parse_strictly(rest)))


def _usage() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    return f"usage: archc COMMAND ...\n\ncommands:\n{rows}\n\noptions:\n  -h, --help, -V, --version\n\n{EPILOG}"


def _unknown(name: str) -> None:
    from archlang.cli.guard import UsageError
    from archlang.report.suggest import did_you_mean

    what = "option" if name.startswith("-") else "command"
    known = ["--help", "--version"] if what == "option" else COMMANDS
    names = ", ".join(f"`{known_name}`" for known_name in known)
    raise UsageError("ARC0901", f"archc has no {what} `{name}`", did_you_mean(name, known) or f"there are {names}")
