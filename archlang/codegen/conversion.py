"""`convert_state_dict` of a file: the module's state from that of the trained network it was made of.

A function for each graph under which something changes, called for each of its instances, as modules are nested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archlang.codegen.carried import Carried
from archlang.codegen.exprs import Call, Kwarg, Leaf, Py, Raw, Seq
from archlang.codegen.names import Scope, identifier
from archlang.codegen.printer import Printer, string
from archlang.ir.graph import Child, Program
from archlang.ir.paths import split_index
from archlang.optimize.weights import DROP, MOVE, Change

__all__ = ["IMPORTS", "conversion"]

IMPORTS = {"Callable": "collections.abc", "Mapping": "collections.abc"}
_NAME = "convert_state_dict"
_RUNTIME = Carried("archlang.optimize.runtime", "weights")
_BANNER = """\
# -- Weights -------------------------------------------------------------------------
# The state of this module from that of the network which was trained."""
_HEAD = "(state: dict[str, Tensor], at: str) -> None:"


def conversion(
    program: Program, changes: Mapping[int, Sequence[Change]], names: Scope, sources: Sequence[str] = ()
) -> list[str]:
    """The definitions, in order; empty where no tensor changes and there is one state.

    sources: where the state is made of several, what a key `*` of each is called in `changes`.
    """
    texts: list[str] = []
    functions: dict[int, str] = {}  # id of a graph -> what converts an instance of it
    known: dict[tuple[str, str], str] = {}
    used = {change.function for graph in program.graphs for change in changes.get(id(graph), ())}
    tensors = _functions(used)
    for name in (_NAME, *tensors):
        names.take(name)
    for graph in program.graphs:
        body = [line for change in changes.get(id(graph), ()) for line in _change(change)]
        body += [line for child in graph.children.values() for line in _below(child, functions)]
        if not body:
            continue
        text = "\n".join(body)
        key = (graph.block, text)
        if key not in known:
            known[key] = names.take(identifier(f"convert_{graph.block}"))
            texts.append(f"def {known[key]}{_HEAD}\n{text}")
        functions[id(graph)] = known[key]
    if id(program.root) not in functions and not sources:
        return []
    parts = [*tensors.values(), *texts, _last(functions.get(id(program.root)), sources)]
    return [f"{_BANNER}\n\n\n{parts[0]}", *parts[1:]]


def _last(function: str | None, sources: Sequence[str]) -> str:
    """`convert_state_dict` itself."""
    head = f"def {_NAME}(*trained: Mapping[str, Tensor])" if sources else f"def {_NAME}(trained: Mapping[str, Tensor])"
    doc = "The state of this module from that of the network which was trained."
    body = ["    state = dict(trained)"]
    if sources:
        doc = f"The state of this module from those of {len(sources)} networks, in order."
        given = Printer().statement(Seq(tuple(map(Leaf, sources))), 0)
        body = [
            f"    names = {given[0]}" if len(given) == 1 else "    names = " + "\n".join(given),
            "    pairs = zip(names, trained, strict=True)",
            '    state = {name.replace("*", key): tensor for name, given in pairs for key, tensor in given.items()}',
        ]
    if function is not None:
        body.append(f'    {function}(state, "")')
    return "\n".join([f"{head} -> dict[str, Tensor]:", f'    """{doc}"""', *body, "    return state"])


def _change(change: Change) -> list[str]:
    if change.function in (MOVE, DROP):
        words = (*change.reads, *change.writes, *change.drops)
        return _line(Call(Raw(change.function), (Raw("state"), Raw("at"), *map(Leaf, words))))
    args: list[Py] = [Raw("state"), Raw("at"), Raw(change.function), _tuple(change.reads), _tuple(change.writes)]
    if change.drops:
        args.append(_tuple(change.drops))
    return _line(Call(Raw("rewrite"), tuple(args), tuple(Kwarg(n, _option(v)) for n, v in change.attrs.items())))


def _tuple(words: Sequence[str | None]) -> Py:
    return Seq(tuple(map(Leaf, words)))


def _option(value: object) -> Py:
    return Seq(tuple(map(_option, value))) if isinstance(value, tuple) else Leaf(value)


def _line(call: Call) -> list[str]:
    return Printer().statement(call, 4)


def _below(child: Child, functions: Mapping[int, str]) -> list[str]:
    """Calls for the instances of a child."""
    function = functions.get(id(child.graph))
    if function is None:
        return []
    if child.count == 1:
        return [f'    {function}(state, f"{{at}}{_inside(child.path)}.")']
    found = split_index(child.path)
    assert found is not None
    stem, first = found
    numbers = f"{first}, {first + child.count}" if first else str(child.count)
    at = f"{_inside(stem)}." if stem else ""
    return [f"    for i in range({numbers}):", f'        {function}(state, f"{{at}}{at}{{i}}.")']


def _inside(path: str) -> str:
    """A path as it is written in an f-string."""
    return string(path)[1:-1].replace("{", "{{").replace("}", "}}")


# -- functions of tensors ----------------------------------------------------------------------------------------------
def _functions(used: set[str]) -> dict[str, str]:
    """The texts of these functions of `optimize/runtime/weights.py`, and of those that they need, by name, in order."""
    wanted = [*used, *(["rewrite"] if used - {MOVE, DROP} else [])]
    return {name: _RUNTIME.text(name) for name in _RUNTIME.reached(wanted)}
