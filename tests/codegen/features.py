"""One small network per thing that the generator has to express, with inputs to run it on."""

from __future__ import annotations

from collections.abc import Callable

from archlang.ir.graph import Init, Program
from tests.codegen.build import B, Block, H, T, W, chain, program

Shapes = tuple[tuple[int, ...] | list[tuple[int, ...]], ...]
FEATURES: dict[str, tuple[Callable[[], Program], Shapes]] = {}


def feature(
    *shapes: tuple[int, ...] | list[tuple[int, ...]],
) -> Callable[[Callable[[], Program]], Callable[[], Program]]:
    def add(make: Callable[[], Program]) -> Callable[[], Program]:
        FEATURES[make.__name__] = (make, shapes)
        return make

    return add


def mlp(dim: int, hidden: int, name: str = "") -> Block:
    m = Block(name or f"mlp_{dim}_{hidden}", block="mlp", line=3, doc="Two layers.", hidden=hidden)
    x = m.input(B, dim)
    y = m.op("relu", m.op("linear", x, path="fc1", out_features=hidden))
    m.returns(m.op("linear", y, path="fc2", out_features=dim))
    return m


@feature((2, 8))
def shared_class() -> Program:
    """Equal structures share a class; what differs becomes arguments, derived ones do not."""
    r = Block("net", line=9)
    x = r.input(B, 8)
    for i, hidden in enumerate((16, 32, 64)):
        x = r.call(mlp(8, hidden).graph, x, path=f"mlp{i}", bind="x")
    r.returns(x)
    return program(r.graph)


@feature((2, 8, 6, 6))
def plain_function() -> Program:
    """Weightless blocks are functions; what differs is passed to them."""
    r = Block("net")
    x = r.input(B, 8, H, W)
    for k in (2, 3):
        f = Block(f"smooth_{k}", block="smooth", line=k, k=k)
        y = f.input(B, 8, H, W)
        f.returns(f.op("relu", f.op("avgpool", y, kernel_size=k, stride=1)))
        x = r.call(f.graph, x, path=f"smooth{k}", bind="x")
    r.returns(r.op("sigmoid", x))
    return program(r.graph)


@feature((2, 8), (2, 8))
def run_of_two_streams() -> Program:
    """A counted child on two streams is an nn.ModuleList and a loop."""
    f = Block("step", line=4)
    a, b = f.input(B, 8, name="a"), f.input(B, 8, name="b")
    f.returns(f.op("add", a, f.op("linear", b, path="fc", out_features=8)))
    f.returns(a)
    r = Block("net")
    a, b = r.input(B, 8, name="a"), r.input(B, 8, name="b")
    c, d = r.calls(f.graph, a, b, path="steps.0", count=5, bind=("a", "b"))
    r.returns(r.op("add", c, d))
    return program(r.graph)


@feature((2, 8), (2, 8))
def run_with_context() -> Program:
    """Context is handed to every member; different members follow one another in one loop."""
    r = Block("net")
    x, ctx = r.input(B, 8), r.input(B, 8, name="ctx", context=True)
    y = x
    for i, hidden in enumerate((4, 6)):
        f = Block(f"step_{hidden}", block="step", line=4, hidden=hidden)
        a, c = f.input(B, 8), f.input(B, 8, name="c", context=True)
        h = f.op("linear", f.op("add", a, c), path="up", out_features=hidden)
        f.returns(f.op("linear", h, path="down", out_features=8))
        y = r.call(f.graph, y, ctx, path=f"layers.{i}")
    r.returns(r.op("add", x, y))
    return program(r.graph)


@feature((2, 3, 8, 8))
def phases() -> Program:
    """Training-only steps, a selection, and an output that exists in training only."""
    r = Block("net", line=7)
    x = r.op("conv", r.input(B, 3, H, W), path="stem", out_channels=4, kernel_size=3, padding=1, bind="x")
    r.phase = "train"
    aux = r.op("linear", r.op("global_avgpool", x), path="aux", out_features=5, bind="aux")
    noisy = r.op("mul", x, other=2.0)
    r.phase = None
    x = r.select(noisy, x, bind="x")
    r.phase = "train"
    a = r.op("relu", x)
    r.phase = "eval"
    b = r.op("sigmoid", x)
    r.phase = None
    y = r.select(a, b)
    r.returns(r.op("global_avgpool", y), name="logits")
    r.returns(aux, name="aux", training=True)
    return program(r.graph)


@feature((2, 3, 8, 8))
def nested_training_output() -> Program:
    """A caller of a block that returns more in training."""
    inner = phases().root
    inner.name = inner.block = "inner"
    r = Block("net", line=9)
    y, aux = r.calls(inner, r.input(B, 3, H, W), path="inner", bind=("y", "aux"))
    r.returns(r.op("relu", y), name="out")
    r.returns(aux, name="aux", training=True)
    return program(r.graph)


@feature((2, 6))
def several_outputs() -> Program:
    """A tuple from a block, a NamedTuple from the root, a list among its fields."""
    f = Block("split", line=2)
    x = f.input(B, 6)
    f.returns(f.op("linear", x, path="left", out_features=3))
    f.returns(f.op("relu", x), x, kind="tensors")
    r = Block("net")
    a, b, c = r.calls(f.graph, r.input(B, 6), path="split")
    r.returns(r.op("relu", a), name="index")
    r.returns(b, r.op("add", b, c), name="maps", kind="tensors")
    return program(r.graph)


@feature([(2, 4), (2, 5)])
def list_port() -> Program:
    """A port of kind `tensors` is a list."""
    r = Block("net")
    a, b = r.inputs((B, 4), (B, 5), name="levels")
    r.returns(r.op("concat", r.op("linear", a, path="fc", out_features=4), b, dim=1))
    return program(r.graph)


@feature((2, 8))
def declared_weights() -> Program:
    """Parameters, buffers, a constraint, and weights under dotted paths."""
    r = Block("net")
    x = r.input(B, 8)
    scale = r.weight("scale", 8, init=Init("ones"))
    shift = r.weight("shift", 8, init=Init("normal", (("std", 0.02),)), trainable=False)
    gain = r.weight("gain", 1, init=Init("constant", (("value", 0),)), constraint="nonzero")
    seen = r.weight("seen", 8, init=Init("zeros"), kind="buffer", persistent=False)
    deep = r.weight("deep.bias", 8, init=Init("uniform", (("a", -1.0), ("b", 1.0))))
    x = r.op("add", r.op("mul", x, scale), shift, bind="x")
    x = r.op("add", r.op("mul", x, gain), seen)
    r.returns(r.op("add", x, deep))
    return program(r.graph)


@feature((2, 8))
def weights_as_values() -> Program:
    """A weight that is a result of its block, and one that is kept in one phase and replaced in the other."""
    f = Block("own", line=2)
    x = f.input(B, 8)
    bias = f.weight("bias", 8, init=Init("ones"))
    f.returns(f.op("add", x, bias))
    f.returns(bias)
    r = Block("net", line=5)
    x, bias = r.calls(f.graph, r.input(B, 8), path="own")
    scale = r.weight("scale", 8, init=Init("ones"))
    r.phase = "train"
    other = r.op("mul", bias, other=2.0)
    r.phase = None
    r.returns(r.op("mul", x, r.select(other, scale)))
    return program(r.graph)


@feature((2, 8))
def containers() -> Program:
    """Dotted paths: lists, dicts, names that neither can hold, numbers and keywords at the top."""
    r = Block("net")
    x = r.input(B, 8)
    for path in ("a.0", "a.1", "b.one", "b.two", "c.pop", "d.e.f", "0", "lambda", "g.3", "__x"):
        x = r.op("linear", x, path=path, out_features=8)
    r.returns(x)
    return program(r.graph)


@feature((2, 8))
def shared_module() -> Program:
    """One module twice, and a second name for it."""
    r = Block("net")
    x = r.input(B, 8)
    x = r.op("relu", r.op("linear", x, path="fc", out_features=8))
    x = r.op("linear", x, path="fc", out_features=8)
    r.graph.aliases = {"head": "fc", "tied.head": "fc"}
    r.returns(r.op("linear", x, path="head", out_features=8))
    return program(r.graph)


@feature((2, 8))
def borrowed_module() -> Program:
    """A module that its caller owns is passed to forward."""
    from archlang.ir.graph import Child

    f = Block("twice", line=3)
    x = f.input(B, 8)
    r = Block("net")
    y = r.input(B, 8)
    r.op("linear", y, path="fc", out_features=8)
    owned = r.graph.children["fc"]
    r.graph.nodes.clear()
    f.graph.borrowed["layer"] = Child("layer", None, owned.op, owned.attrs, owned.weights)
    x = f.op("relu", f.op("linear", x, path="layer", out_features=8))
    f.returns(f.op("linear", x, path="layer", out_features=8))
    y = r.call(f.graph, y, path="twice", modules={"layer": "fc"}, bind="y")
    r.returns(r.op("linear", y, path="fc", out_features=8))
    return program(r.graph)


@feature((2, 8))
def borrowed_run() -> Program:
    """Consecutive modules are lent together, here out of a container that holds another one, too."""
    from archlang.ir.graph import Child

    f = Block("all", line=3)
    x = f.input(B, 8)
    r = Block("net")
    y = r.input(B, 8)
    y = r.op("linear", y, path="box.first", out_features=8)
    node = len(r.graph.nodes)
    r.op("linear", y, path="box.0", count=3, out_features=8)
    del r.graph.nodes[node:]
    owned = r.graph.children["box.0"]
    f.graph.borrowed["layers.0"] = Child("layers.0", None, owned.op, owned.attrs, owned.weights, count=3)
    f.returns(f.op("linear", x, path="layers.0", count=3, out_features=8))
    r.returns(r.call(f.graph, y, path="all", modules={"layers.0": "box.0"}))
    return program(r.graph)


@feature((2, 5, 8))
def symbolic_sizes() -> Program:
    """Sizes are read from the input's shape; a tensor may be called like one."""
    r = Block("net")
    x = r.input(B, T, 8)
    h = r.op("linear", x, path="fc", out_features=8, bind="t")
    h = r.op("reshape", h, shape=[B, 2 * T, 4], bind="b")
    r.returns(r.op("reshape", h, shape=[B, T, 8]))
    return program(r.graph)


@feature((2, 8))
def initialised() -> Program:
    """Rules attached to ops: grouped, and in loops over runs."""
    rule = {"init": Init("xavier_uniform"), "bias_init": Init("zeros")}
    inner = chain("pair", (B, 8), [("linear", {"out_features": 8, **rule}), ("relu", {})])
    outer = chain("stack", (B, 8), [(inner, 3), ("linear", {"out_features": 8, **rule})])
    r = Block("net")
    x = r.call(outer, r.input(B, 8), path="body", bind="x")
    x = r.op("linear", x, path="a", out_features=8, init=Init("orthogonal"))
    r.returns(r.op("linear", x, path="b", out_features=8, **rule))
    return program(r.graph)


@feature((2, 8))
def sequential_root() -> Program:
    """A root that is a plain composition; weightless blocks in it have to be modules."""
    f = Block("gate", line=5)
    x = f.input(B, 8)
    f.returns(f.op("mul", x, f.op("sigmoid", x)))
    root = chain("net", (B, 8), [("linear", {"out_features": 8}), f.graph, (mlp(8, 4).graph, 3)], block="net")
    return program(root)


@feature((2, 8), (2, 8))
def numbered_class() -> Program:
    """A composition that nn.Sequential cannot hold is an nn.ModuleList with a forward."""
    f = Block("step", line=4)
    a, b = f.input(B, 8, name="a"), f.input(B, 8, name="b")
    f.returns(b)
    f.returns(f.op("linear", a, path="fc", out_features=8))
    c = Block("chain", line=6)
    a, b = c.input(B, 8, name="a"), c.input(B, 8, name="b")
    a, b = c.calls(f.graph, a, b, path="0", count=4)
    c.returns(c.op("linear", a, path="4", out_features=8))
    c.returns(b)
    r = Block("net")
    a, b = r.calls(c.graph, r.input(B, 8, name="a"), r.input(B, 8, name="b"), path="chain")
    r.returns(r.op("add", a, b))
    return program(r.graph)


@feature((2, 3, 8, 8))
def swept() -> Program:
    """A rule that all convolutions share is one loop in the root."""
    rule = {"init": Init("kaiming_normal", (("mode", "fan_out"),)), "kernel_size": 1}
    f = Block("inner", line=4)
    x = f.op("conv", f.input(B, 3, H, W), path="a", out_channels=3, bias_init=Init("zeros"), **rule)
    f.returns(f.op("linear", f.op("global_avgpool", x), path="fc", out_features=3))
    r = Block("net")
    x = r.op("conv", r.input(B, 3, H, W), path="conv", out_channels=3, bias=False, **rule)
    r.returns(r.call(f.graph, x, path="inner"))
    return program(r.graph)


@feature((2, 4, 6, 6))
def weightless_runs() -> Program:
    """A weightless block is a function when called, run several times in a loop, and a class in an nn.Sequential."""
    f = Block("soften", line=4)
    x = f.input(B, 4, H, W)
    f.returns(f.op("mul", f.op("sigmoid", x), x))
    g = Block("deep", line=6)
    g.returns(g.call(f.graph, g.input(B, 4, H, W), path="0", count=3))
    r = Block("net")
    x = r.call(g.graph, r.input(B, 4, H, W), path="deep", bind="x")
    conv = ("conv", {"out_channels": 4, "kernel_size": 1})
    x = r.call(chain("body", (B, 4, H, W), [conv, f.graph, (f.graph, 2), g.graph]), x, path="body")
    r.returns(r.call(f.graph, x, path="last.0", count=2))
    return program(r.graph)


@feature((2, 8))
def repetition_and_defaults() -> Program:
    """Equal neighbours are repeated by a generator; what most members have is a default."""
    r = Block("net")
    x = r.input(B, 8)
    for i, (p, slope) in enumerate(((0.0, 0.1), (0.0, 0.1), (0.5, 0.1), (0.0, 0.2))):
        f = Block(f"unit_{i}", block="unit", line=4, p=p)
        y = f.op("linear", f.input(B, 8), path="fc", out_features=8)
        y = f.op("leaky_relu", y, negative_slope=slope)
        f.returns(f.op("mul", y, other=1.0 - p))
        x = r.call(f.graph, x, path=f"unit{i}", bind="x")
    for i in range(4):
        x = r.op("add", r.op("linear", x, path=f"fcs.{i}", out_features=8), x, bind="x")
    linear = ("linear", {"out_features": 8})
    r.returns(r.call(chain("body", (B, 8), [linear, linear, linear, ("relu", {}), linear]), x, path="body"))
    return program(r.graph)
