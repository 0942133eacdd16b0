"""Log-determinants and iterated inverses in generated code: the helpers, the calls, the methods of a class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from archlang.codegen import exprs as py
from archlang.codegen.body import Method
from archlang.codegen.convert import convert
from archlang.codegen.errors import fail
from archlang.codegen.forms import emission
from archlang.codegen.statements import Statements, alone
from archlang.ir.graph import Node
from archlang.ops.code import Call, Get, Helper, In, Self
from archlang.report.diagnostic import ArchError
from archlang.reversible import adds_log_det, with_log_det

if TYPE_CHECKING:
    from archlang.codegen.builder import _Builder

__all__ = [
    "IMPORTS",
    "METHOD",
    "STATEMENTS",
    "UNTYPED",
    "contraction",
    "measured",
    "measured_statements",
    "method",
    "op_code",
]

METHOD = "with_log_det"
STATEMENTS = "log_det_statements"
UNTYPED = (METHOD, "log_det_of")  # functions that mypy does not know the results of

_WITH_LOG_DET = '''\
def with_log_det(module: nn.Module, *inputs: Any) -> Any:
    """What the module makes of these inputs; its log|det J| is added to one."""
    return module.with_log_det(*inputs)  # type: ignore[operator]
'''
_LOG_DET = '''\
def log_det_of(module: nn.Module, *inputs: Any) -> Any:
    """log|det J| of the module's map at these inputs, [B]."""
    return module.log_det(*inputs)  # type: ignore[operator]
'''
_FIXED_POINT = '''\
def fixed_point(
    f: Any, y: Tensor, *context: Tensor, constant: float, tolerance: float
) -> Tensor:
    """The x with x + f(x, *context) = y, to a relative error of `tolerance`.

    f, a module or a method of one, contracts by `constant`: so many steps reach the
    tolerance, and the last change says when they have. Buffers stay as they are.
    """
    buffers = [(b, b.clone()) for b in getattr(f, "__self__", f).buffers()]
    steps = ceil(log(tolerance * (1 - constant) / 2) / log(constant)) if constant else 1
    allowed = (1 - constant) / constant * tolerance if constant else tolerance
    x = y
    for _ in range(steps + 1):
        before, x = x, y - f(x, *context)
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
        if (x - before).norm() <= allowed * x.norm():
            break
    return x
'''
_RESIDUAL_LOG_DET = '''\
def residual_log_det(f: Any, x: Tensor, *context: Tensor, exact: bool) -> Tensor:
    """log det(1 + J) for each sample, J being the Jacobian of f at x.

    exact: from the whole of J. Else an estimate without bias: the power series, its
    traces from one random vector, cut off at a random place and weighted by how rarely
    it gets that far (Chen et al., 2019).
    """
    graph = torch.is_grad_enabled()
    with torch.enable_grad():
        x = x if x.requires_grad else x.detach().requires_grad_()
        y = f(x, *context)

    def pull(vector: Tensor) -> Tensor:
        pulled = torch.autograd.grad(y, x, vector, True, create_graph=graph)
        return pulled[0]

    if exact:
        one = torch.eye(y[0].numel(), dtype=y.dtype, device=y.device)
        rows = [pull(e.expand(len(y), -1).reshape(y.shape)).flatten(1) for e in one]
        log_det: Tensor = torch.linalg.slogdet(one + torch.stack(rows, 1)).logabsdet
        return log_det
    certain, further = 2, int(torch.empty((), device="cpu").geometric_(0.5)) - 1
    noise = product = torch.randn_like(x)
    total = noise.new_zeros(len(x))
    for k in range(1, certain + further + 1):
        product = pull(product)
        reached = 0.5 ** max(k - certain, 0)
        trace = (product * noise).flatten(1).sum(1)
        total = total + (-1) ** (k + 1) / k / reached * trace
    return total
'''
IMPORTS = {  # by helper: the names that it imports, and from where
    "with_log_det": {"Any": "typing"},
    "log_det_of": {"Any": "typing"},
    "fixed_point": {"Any": "typing", "ceil": "math", "log": "math"},
    "residual_log_det": {"Any": "typing"},
}
_HELPERS = {
    name: Helper(name, text, defines=(name, *IMPORTS[name]))
    for name, text in (
        ("with_log_det", _WITH_LOG_DET),
        ("log_det_of", _LOG_DET),
        ("fixed_point", _FIXED_POINT),
        ("residual_log_det", _RESIDUAL_LOG_DET),
    )
}


def measured(b: _Builder, module: py.Py, args: tuple[py.Py, ...], name: str = METHOD) -> py.Call:
    """A module with its log-determinant added up, or that alone; by a function where mypy does not know its class."""
    if isinstance(module, py.Get) and module.value == py.SELF:
        return py.Call(py.Get(module, name), args)
    helper = _HELPERS[METHOD if name == METHOD else "log_det_of"]
    b.shared.help((helper,))
    return py.Call(py.Raw(helper.name), (module, *args))


def op_code(b: _Builder, node: Node, ins: Sequence[py.Py], module: Callable[[], py.Py]) -> py.Py:
    """What an op node computes, of these inputs."""
    code = emission(node)
    if code == Call(Get(Self(), "inverse"), tuple(In(i) for i in range(len(ins)))):
        return b.undone(module(), tuple(ins))
    if code == Call(Get(Self(), "log_det"), tuple(In(i) for i in range(len(ins)))):
        return measured(b, module(), tuple(ins), "log_det")
    return convert(code, ins, module, node.attrs)


def contraction(b: _Builder, node: Node) -> py.Call:
    """The inverse of `s + f(s)`, or its log-determinant; f is a module, or a method of the class."""
    helper = _HELPERS[node.op]
    b.shared.help((helper,))
    x, *context = (b.value(v) for v in node.inputs)
    args = (_branch(b, node), x, *context)
    if node.op == "residual_log_det":
        return py.Call(py.Raw(helper.name), args, (py.Kwarg("exact", py.Raw("not self.training")),))
    kwargs = tuple(py.Kwarg(name, py.Leaf(node.attrs[name], name)) for name in ("constant", "tolerance"))
    return py.Call(py.Raw(helper.name), args, kwargs)


def _branch(b: _Builder, node: Node) -> py.Py:
    graph = node.callee
    assert graph is not None
    inputs = graph.entries
    (result,) = graph.results
    if len(graph.nodes) == 1 and graph.nodes[0].outputs == (result,) and list(graph.nodes[0].inputs) == inputs:
        module = alone(b, graph.nodes[0])
        if module is not None:
            return module
    key = (id(result), *(id(n) for n in graph.nodes))
    if key not in b.branches:
        b.branches[key] = b.free_name("branch")
        b.outlines.append(Method(b.branches[key], "Tensor", b.part(graph)))
    return py.Get(py.SELF, b.branches[key])


def method(b: _Builder) -> list[Method]:
    """`with_log_det`, where the class needs it: it adds to its last stream, or at the root gives the sum from 0."""
    forms, graph = b.forms, b.graph
    if id(graph) not in forms.reversal.log_det:
        return []
    root = graph is forms.program.root
    if METHOD in b.make.layout().attributes:
        fail("ARC0407", f"the label `{METHOD}` hides the method of a module that gives its log-determinant", graph.span)
    part = with_log_det(graph) if root else adds_log_det(graph)
    return [Method(METHOD, "Tensor", b.part(part, regions=root or not forms.has_statements(graph)))]


def measured_statements(b: _Builder, taken: frozenset[str]) -> list[Method]:
    """`log_det_statements`, where the class needs it: the steps of `with_log_det` as training takes them back."""
    forms, graph = b.forms, b.graph
    if not forms.has_log_statements(graph):
        return []
    try:
        return Statements(b.within(adds_log_det(graph)), STATEMENTS, taken).build()
    except ArchError:  # then autograd keeps what is measured
        forms.reversal.log_statements.discard(id(graph))
        return []
