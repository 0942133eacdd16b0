"""The claim `reversible(...)`: of the whole design, of the module at a path, or of every instance of a block."""

from __future__ import annotations

from archlang.elaborate.errors import fail
from archlang.elaborate.values import BlockTemplate
from archlang.ir.graph import Graph, Program
from archlang.ir.paths import Paths
from archlang.report.diagnostic import Diagnostic, Label
from archlang.report.suggest import did_you_mean
from archlang.reversible import proved, refusal
from archlang.syntax import tree
from archlang.verify.subject import Subject

__all__ = ["check_reversible"]


def check_reversible(subject: Subject, claim: tree.Claim, call: tree.Call) -> list[Diagnostic]:
    """`reversible()`: the design; `reversible("path")`: a module in it; `reversible(block)`: the block's instances.

    What is claimed is a bijection, or one up to a tolerance; an injection is none.
    """
    program = subject.program
    targets = [(subject.name, program.root)] if not call.args else []
    for arg in call.args:
        value = subject.evaluate(arg.value)
        if isinstance(value, str):
            targets.append((f"`{value}`", _at(program, value, arg)))
        elif isinstance(value, BlockTemplate):
            found = [
                graph for graph in program.graphs if graph.block == value.name and graph.span == value.tree.name_span
            ]
            if not found:
                fail("ARC0804", f"the design has no `{value.name}`", arg.span)
            targets += [(f"`{value.name}`", graph) for graph in found]
        else:
            help = "name a block, or the path of a module as a string; without arguments, the whole design is meant"
            fail("ARC0804", "this is neither a block nor a path", arg.span, help=help)
    findings = (_finding(name, graph, claim) for name, graph in targets)
    return next(([finding] for finding in findings if finding is not None), [])


def _finding(name: str, graph: Graph, claim: tree.Claim) -> Diagnostic | None:
    proof = proved(graph)
    if proof is None:
        reason = refusal(graph)
        assert reason is not None
        related = (Label(reason.span, "in here"),) if reason.span is not None else ()
        return Diagnostic(
            "ARC0808", f"{name} is not reversible: {reason.message}", claim.span, "", related, reason.help
        )
    if proof.grade == "injective":
        return Diagnostic("ARC0808", f"{name} is injective, not bijective: it gives more than it takes", claim.span)
    return None


def _at(program: Program, path: str, arg: tree.Argument) -> Graph:
    """The graph that stands at a path."""
    here, rest = program.root, path
    while rest:
        paths = Paths(here)
        parts = rest.split(".")
        for size in range(len(parts), 0, -1):
            child = paths.child(".".join(parts[:size]))
            if child is not None and child.graph is not None:
                here, rest = child.graph, ".".join(parts[size:])
                break
        else:
            known = [p for p, child in here.children.items() if child.graph is not None]
            help = did_you_mean(rest, known) or (f"its modules are {', '.join(known[:8])}" if known else None)
            fail("ARC0804", f"the design has no module `{path}` that could be reversible", arg.span, help=help)
    return here
