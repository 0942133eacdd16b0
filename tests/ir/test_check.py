"""Every rule of the check: a good program passes, one change breaks it, and the error says where."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from archlang.ir.check import IRError, check
from archlang.ir.graph import Child, Constraint, Graph, Node, Output, Program, TensorType, Value, WeightDecl
from archlang.ir.sizes import Equalities
from archlang.ops.base import Context, registry
from archlang.shapes.dim import symbol
from tests.ir.build import Build, constant, extern, sizes
from tests.ir.nets import borrowed, phases, residual, tower

B, H, W = symbol("B"), symbol("H"), symbol("W")


def run(program: Program) -> None:
    check(program, registry(), Context)


def refuse(program: Program, message: str) -> IRError:
    with pytest.raises(IRError, match=re.escape(message)) as caught:
        run(program)
    return caught.value


@pytest.mark.parametrize("program", [residual()[0], tower(10**6), borrowed(), phases()], ids=str)
def test_well_formed(program: Program) -> None:
    run(program)


def test_the_error_names_graph_node_and_place() -> None:
    program = tower(3)
    unit = program.graphs[0]
    unit.nodes[1].op = "nonsense"
    error = refuse(program, "malformed program in graph `unit`, node `nonsense` at `fc` (hand.arch:2:14): unknown op")
    assert error.graph is unit
    assert error.node is unit.nodes[1]


def test_values_before_use_and_in_the_same_graph() -> None:
    program = tower(3)
    unit, root = program.graphs
    unit.nodes[2], unit.nodes[1] = unit.nodes[1], unit.nodes[2]
    refuse(program, "is used before it is defined, or elsewhere")
    program = tower(3)
    unit, root = program.graphs
    root.outputs[0] = Output((unit.nodes[0].outputs[0],))
    refuse(program, "in graph `tower`: a value `` of type [3] is used before it is defined, or elsewhere")
    program = tower(3)
    program.root.nodes[0].outputs = program.root.inputs[0].values
    refuse(program, "a value is defined twice")


def changed(change: Callable[[Graph], None]) -> Program:
    program = phases()
    change(program.root)
    return program


def test_phases() -> None:
    def swap(graph: Graph) -> None:
        graph.nodes[3].inputs = graph.nodes[3].inputs[::-1]

    def leak(graph: Graph) -> None:
        graph.nodes[5].inputs = (graph.nodes[1].outputs[0], graph.nodes[5].inputs[1])

    def seen(graph: Graph) -> None:
        graph.nodes[6].phase = None

    def returned(graph: Graph) -> None:
        graph.outputs[1].training = False

    def never(graph: Graph) -> None:
        graph.nodes[5].phase = "eval"

    def unknown(graph: Graph) -> None:
        graph.nodes[1].phase = "test"

    def single(graph: Graph) -> None:
        graph.nodes[3].inputs = graph.nodes[3].inputs[:1]

    refuse(changed(swap), "that exists in evaluation only is used outside of it")
    refuse(changed(leak), "that exists in training only is used outside of it")
    refuse(changed(seen), "that exists in training only is used outside of it")
    refuse(changed(returned), "that exists in training only is used outside of it")
    refuse(changed(never), "that exists never only is used outside of it")
    refuse(changed(unknown), "unknown phase 'test'")
    refuse(changed(single), "`phase` takes what holds in training")


def test_types_are_what_the_registry_infers() -> None:
    program = tower(3)
    program.graphs[0].nodes[1].outputs[0].type = TensorType((B, 4))
    refuse(program, "the inferred type is [B, 3], recorded is [B, 4]")
    program = tower(3)
    program.graphs[0].nodes[1].attrs = {"out_features": 3}
    refuse(program, "its weights cannot be told")
    program = tower(3)
    program.graphs[0].nodes[1].inputs *= 2
    refuse(program, "its types cannot be inferred")
    program = tower(3)
    program.graphs[0].nodes[0].outputs[0].type = TensorType((3,), "float64")
    refuse(program, "the weight is [3], recorded is float64[3]")
    program = tower(3)
    program.graphs[0].nodes[2].outputs += (Value(TensorType(())),)
    refuse(program, "2 outputs are recorded, 1 inferred")


def test_weights_are_what_the_attributes_ask_for() -> None:
    program = tower(3)
    program.graphs[0].children["fc"].weights = (WeightDecl("weight", (3, 3)),)
    refuse(program, "`fc` has other weights than the attributes ask for")
    program = tower(3)
    program.graphs[0].nodes[1].path = None
    refuse(program, "an op with weights has no path")
    program = tower(3)
    program.graphs[0].children["fc"].op = "conv"
    refuse(program, "`fc` is not a `linear`")
    program = tower(3)
    del program.graphs[0].weights["scale"]
    refuse(program, "there is no weight `scale`")


def test_calls_fit_their_callee() -> None:
    program = tower(3)
    program.root.nodes[0].sizes = {}
    refuse(program, "the sizes given are not the symbols of `unit`")
    program = tower(3)
    program.root.nodes[0].sizes = {"B": 2 * B}
    refuse(program, "an input of `unit` is [2*B, 3], recorded is [B, 3]")
    program = tower(3)
    program.root.nodes[0].inputs *= 2
    refuse(program, "`unit` has 1 inputs, the call 2")
    program = tower(3)
    program.root.nodes[0].path = "units.1"
    refuse(program, "there is no child `units.3`")
    program = tower(3)
    program.root.nodes[0].callee = None
    refuse(program, "`call` and only `call` has a callee")
    program = tower(3)
    program.root.children["units.0"].graph = program.root
    refuse(program, "`tower` is used before it is listed")


def test_one_instance_may_run_a_graph_for_each_type_it_is_applied_to() -> None:
    def unit(name: str, shape: str, out: int = 3, block: str = "unit") -> Graph:
        b = Build(name, "B")
        b.graph.block = block
        return b.output(b.op("linear", b.input("x", shape), path="fc", out_features=out))

    def twice(other: Graph) -> Program:
        net = Build("net", "B")
        net.output(net.call(unit("unit", "B 3"), net.input("x", "B 3"), path="u")[0])
        net.output(net.call(other, net.input("y", "B 7 3"), path="u")[0])
        return net.program()

    run(twice(unit("unit_2", "B 7 3")))
    refuse(twice(unit("unit_2", "B 7 3", out=4)), "`u` is not an instance of `unit_2`")
    refuse(twice(unit("unit_2", "B 7 3", block="other")), "`u` is not an instance of `unit_2`")


def test_types_may_agree_by_the_graphs_own_constraints() -> None:
    program = tower(1)
    root = program.root
    root.symbols = ("B", "H")
    root.inputs[0].values[0].type = TensorType((B, H))
    refuse(program, "an input of `unit` is [B, 3], recorded is [B, H]")
    root.constraints.append(Constraint(2 * H, 6, "==", "the unit takes 3", None))
    run(program)


def test_runs_chain() -> None:
    u = Build("unit", "B")
    x = u.input("x", "B 3")
    u.output(u.op("linear", x, path="fc", out_features=4))
    net = Build("net", "B")
    net.output(net.call(u.graph, net.input("x", "B 3"), path="0", count=2)[0])
    refuse(net.program(), "what a run hands on is [B, 4], recorded is [B, 3]")
    u.output(x)
    net = Build("net", "B")
    net.call(u.graph, net.input("x", "B 3"), path="0", count=2)
    refuse(net.program(), "a run hands on 2 values and takes 1")
    u.graph.outputs[0].training = True
    refuse(net.program(), "a block with training-only outputs is run several times")
    net = Build("net", "B")
    net.output(net.op("linear", net.input("x", "B 3"), path="0", count=2, out_features=4))
    refuse(net.program(), "what a run hands on is [B, 4], recorded is [B, 3]")


def test_a_run_may_cover_several_children_and_part_of_one() -> None:
    net = Build("net", "B")
    x = net.input("x", "B 3")
    child = Build("other", "B")
    child.op("linear", child.input("x", "B 3"), path="fc", out_features=3)
    weights = child.graph.children["fc"].weights
    attrs = child.graph.children["fc"].attrs
    for path, count in (("s.0", 4), ("s.4", 1), ("s.5", 3)):
        net.graph.children[path] = Child(path, None, "linear", attrs, weights, count=count)
    y = Value(x.type)
    net.graph.nodes.append(Node("linear", (x,), (y,), None, attrs, "s.2", count=5))
    net.output(y)
    run(net.program())
    net.graph.nodes[0].count = 7
    refuse(net.program(), "there is no child `s.8`")
    net.graph.nodes[0].count = 5
    del net.graph.children["s.4"]
    refuse(net.program(), "there is no child `s.4`")
    net.graph.nodes[0].path = "s"
    refuse(net.program(), "a run of 5 cannot start at `s`")


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ({"a": 1, "a.b": 1}, "`a.b` lies inside the namespace of `a`"),
        ({"a.b.c": 1, "a": 1}, "`a.b.c` lies inside the namespace of `a`"),
        ({"a.0": 4, "a.2": 1}, "`a.2` names two things"),
        ({"a.0": 4, "a.2.w": 1}, "`a.2.w` lies inside the namespace of `a.2`"),
        ({"a.0": 4, "a.3": 2}, "`a.3` of the 4 children from `a.0` on is taken"),
        ({"a.0": 4, "a.1": 2}, "on is taken"),
        ({"a": 4}, "the child `a` cannot be counted 4 times"),
        ({"a..b": 1}, "the child `a..b` is listed under `a..b`"),
        ({"w": 1}, "`w` names two things"),
        ({"w.x": 1}, "`w.x` lies inside the namespace of `w`"),
        ({"t": 1}, "`t` names two things"),
        ({"v": 1}, "`v` is both borrowed and owned"),
    ],
)
def test_paths(paths: dict[str, int], message: str) -> None:
    net = Build("net", "B")
    x = net.input("x", "B 3")
    net.output(x)
    net.weight("w", (3,), init=constant(1.0))
    net.graph.aliases["t"] = "w"
    inner = Build("inner", "B")
    inner.output(inner.input("x", "B 3"))
    if "v" in paths:
        net.graph.borrowed["v"] = Child("v", None, graph=inner.graph)
    for path, count in paths.items():
        net.child(path, inner.graph, count)
    refuse(net.program(), message)


def test_paths_that_only_share_a_prefix_are_fine() -> None:
    net = Build("net", "B")
    x = net.input("x", "B 3")
    inner = Build("inner", "B")
    inner.output(inner.input("x", "B 3"))
    for path in ("a.b", "a.c", "ab", "a.0", "a.1.x"):
        net.child(path, inner.graph)
    net.weight("a.w", (3,), init=constant(1.0))
    net.output(x)
    run(net.program())


def test_children_and_aliases() -> None:
    net = Build("net", "B")
    net.output(net.input("x", "B 3"))
    net.graph.children["a"] = Child("b", None, "relu")
    refuse(net.program(), "the child `b` is listed under `a`")
    net.graph.children["a"] = Child("a", None, "relu", graph=tower(1).root)
    refuse(net.program(), "is neither an op nor a graph, or both")
    net.graph.children["a"] = Child("a", None, graph=tower(1).graphs[0], weights=(WeightDecl("w", ()),))
    refuse(net.program(), "the child `a` is a graph with weights of its own")
    net.graph.children.clear()
    net.graph.aliases.update({"p": "q", "q": "p"})
    refuse(net.program(), "the alias `p` ends nowhere")


def test_borrowed_modules() -> None:
    program = borrowed()
    program.root.nodes[1].modules = {"f": "m"}
    refuse(program, "the modules given are not those that `coupling` borrows")
    program = borrowed()
    program.root.nodes[1].modules = {"f": "m", "g": "none"}
    refuse(program, "there is no module `none` to lend as `g`")
    program = borrowed()
    program.root.nodes[1].modules = {"f": "m", "g": "first"}
    refuse(program, "the module `first` is not what `coupling` borrows as `g`")
    net = Build("net", "B")
    x = net.op("linear", net.input("x", "B 3"), path="fc", out_features=3)
    net.output(x)
    net.graph.borrowed["fc"] = net.graph.children.pop("fc")
    refuse(net.program(), "nobody lends the root its module `fc`")


def test_symbols_are_bound() -> None:
    program = tower(2)
    program.root.symbols = ()
    refuse(program, "the size `B` is not a symbol of the graph")
    program = tower(2)
    program.root.symbols = ("B", "N")
    refuse(program, "no input's type tells the size `N`")
    program = tower(2)
    program.root.symbols = ("B", "B")
    refuse(program, "a symbol is listed twice")
    net = Build("net", "B H")
    net.output(net.op("reshape", net.input("x", "B H"), shape=(H, B)))
    run(net.program())
    net.graph.nodes[0].attrs = {"shape": (H, (W * B) // 2)}
    refuse(net.program(), "node `reshape` (hand.arch:2:14): the size `W` is not a symbol")


def test_ports_and_outputs() -> None:
    net = Build("net", "B")
    x = net.input("x", "B 3")
    net.output(x)
    net.graph.inputs[0].values += (Value(x.type),)
    refuse(net.program(), "port `x` of kind tensor holds 2 values")
    net.graph.inputs[0].kind = "tensors"
    run(net.program())
    net.graph.outputs[0].values = ()
    refuse(net.program(), "of kind tensor holds 0 values")


def test_programs() -> None:
    program = tower(2)
    program.graphs.reverse()
    refuse(program, "`unit` is used before it is listed")
    program = tower(2)
    program.graphs[0].name = "tower"
    refuse(program, "two graphs are called `tower`")
    program = tower(2)
    program.graphs.pop()
    refuse(program, "the root is not listed")


def test_extern_types_are_taken_as_declared() -> None:
    net = Build("net", "B")
    x = net.input("x", "B 3")
    net.output(extern(net, "e", "m:f", TensorType(sizes("B 7")), x))
    run(net.program())
    net.graph.children["e"].op = "linear"
    refuse(net.program(), "`e` is not a `extern`")


def test_equalities_are_linear_consequences() -> None:
    eq = Equalities([(H, 2 * W), (2 * (H // 2), H), (B + H, 10)])
    assert eq.same(H * 3, 6 * W)
    assert eq.same(B + 4 * (H // 2) + 1, 11 + 2 * W)
    assert eq.same(H // 2, W)
    assert not eq.same(B, W)
    assert not eq.same(H, 10)
    assert not eq.same(H * B, 2 * W * B)  # true, but not linear: it is not claimed
    assert not Equalities([]).same(H, W)
    assert Equalities([(H, W), (H + 1, W)]).same(3, 4)  # no size satisfies both: everything follows
