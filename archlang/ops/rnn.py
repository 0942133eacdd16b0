"""Recurrent layers, with torch's names of weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from archlang.ir.graph import Attr, Attrs, TensorType, WeightDecl
from archlang.ops._args import channels, in_range, kwargs, same_channels, wires
from archlang.ops.base import Context, Input, Op, OpError, Param, register
from archlang.ops.code import Call, Expr, Helper, Lit, Self
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import require_float
from archlang.shapes.dim import Size

if TYPE_CHECKING:
    from archlang.ops.axes import Axes, Axis
    from archlang.ops.channels import Tied, Ties

__all__: list[str] = []

_COMMON = (
    Param("num_layers", "int", 1),
    Param("bias", "bool", True),
    Param("batch_first", "bool", True),
    Param("dropout", "float", 0.0),
    Param("bidirectional", "bool", False),
)
_INITS = (Param("init", "init?", None), Param("bias_init", "init?", None))


class _Recurrent(Op):
    """[B, T, D] -> (output [B, T, directions * hidden], the last states [layers * directions, B, hidden])."""

    random = True  # dropout between the layers
    gates: ClassVar[int]
    keeps_new_state: ClassVar[bool] = False  # among what a step keeps is the state that the next one starts from
    torch_class: ClassVar[str]

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        self._check_rank(ins[0])
        hidden: Any = args["hidden_size"]
        for name in ("hidden_size", "num_layers"):
            in_range(self.name, name, args[name], least=1)
        in_range(self.name, "dropout", args["dropout"], least=0, most=1)
        in_range(self.name, "proj_size", args.get("proj_size", 0), least=0, most=hidden - 1)
        return {**args, "input_size": channels(self.name, ins[0], cx, -1)}

    def _check_rank(self, x: TensorType) -> None:
        if x.rank != 3:
            raise OpError("ARC0310", f"`{self.name}` takes [B, T, D], and this is {x}", inputs=(0,))
        require_float(self.name, [x])

    def _out(self, attrs: Attrs) -> int:
        """Width of a direction's output."""
        return attrs.get("proj_size") or int(attrs["hidden_size"])

    def state_widths(self, attrs: Attrs) -> tuple[int, ...]:
        return (self._out(attrs),)

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        x, *states = ins
        self._check_rank(x)
        same_channels(self.name, x, attrs["input_size"], cx, dim=-1)
        widths = self.state_widths(attrs)
        if states and len(states) != len(widths):
            message = f"`{self.name}` takes {' and '.join(p.name for p in self.inputs[1:])} together"
            raise OpError("ARC0313", message, inputs=(1,))
        directions = 1 + attrs["bidirectional"]
        batch = x.shape[0 if attrs["batch_first"] else 1]
        lasts = [(attrs["num_layers"] * directions, batch, width) for width in widths]
        for i, (state, shape) in enumerate(zip(states, lasts, strict=False), 1):
            if state.rank != 3:
                message = f"`{self.name}` takes a state [layers * directions, B, D], and this is {state}"
                raise OpError("ARC0310", message, inputs=(i,))
            for have, need in zip(state.shape, shape, strict=True):
                cx.equal(have, need, f"initial state of `{self.name}`", inputs=(i,))
        output = TensorType((*x.shape[:2], directions * self._out(attrs)), x.dtype)
        return (output, *(TensorType(shape, x.dtype) for shape in lasts))

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        rows = self.gates * attrs["hidden_size"]
        decls: list[WeightDecl] = []
        for layer in range(attrs["num_layers"]):
            width = attrs["input_size"] if layer == 0 else self._out(attrs) * (1 + attrs["bidirectional"])
            for suffix in ("", "_reverse") if attrs["bidirectional"] else ("",):
                end = f"l{layer}{suffix}"
                decls.append(WeightDecl(f"weight_ih_{end}", (rows, width), attrs["init"]))
                decls.append(WeightDecl(f"weight_hh_{end}", (rows, self._out(attrs)), attrs["init"]))
                if attrs["bias"]:
                    decls += [WeightDecl(f"bias_{kind}_{end}", (rows,), attrs["bias_init"]) for kind in ("ih", "hh")]
                if attrs.get("proj_size"):
                    shape = (attrs["proj_size"], attrs["hidden_size"])
                    decls.append(WeightDecl(f"weight_hr_{end}", shape, attrs["init"]))
        return tuple(decls)

    def macs(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        matrices = (decl.shape for decl in self.weights(attrs) if len(decl.shape) == 2)
        return ins[0].shape[0] * ins[0].shape[1] * sum(rows * columns for rows, columns in matrices)

    def layers(self, attrs: Attrs) -> int:
        return int(attrs["num_layers"])

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        x, *states = ins
        cx.fix((x[1 if attrs["batch_first"] else 0],), f"`{self.name}` goes by its order")
        hidden, gates = cx.free(attrs["hidden_size"]), cx.fixed(self.gates, f"a gate of `{self.name}`")
        out = cx.free(attrs["proj_size"]) if attrs.get("proj_size") else hidden
        directions = 1 + attrs["bidirectional"]
        batch, wide = x[0 if attrs["batch_first"] else 1], cx.cat(*(out,) * directions)
        rows, weights = cx.product(gates, hidden), {}
        for decl in self.weights(attrs):
            first = decl.name.partition("_l")[2].partition("_")[0] == "0"
            inner = {"weight_ih": x[-1] if first else wide, "weight_hh": out, "weight_hr": hidden}
            kind = decl.name.partition("_l")[0]
            weights[decl.name] = (out if kind == "weight_hr" else rows, *((inner[kind],) if kind in inner else ()))
        layers = cx.fixed(attrs["num_layers"] * directions, f"a layer of `{self.name}`")
        lasts = [(layers, batch, width) for width in (out, hidden)[: len(outs) - 1]]
        for state, last in zip(states, lasts, strict=False):
            cx.pointwise((state, last))
        sizes: dict[str, Axis] = {"hidden_size": hidden} | ({"proj_size": out} if attrs.get("proj_size") else {})
        return cx.says((*x[:2], wide), *lasts, weights=weights, sizes=sizes)

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        """torch's own kernel, step by step; a fused one (oneDNN's or cuDNN's LSTM) keeps a workspace instead."""
        x, dtype = ins[0], ins[0].dtype
        first = attrs["batch_first"]
        given = (*ins, *weights.values())
        directions = 1 + attrs["bidirectional"]
        y = tape.transpose(x, 0, 1) if first else x
        count, batch = attrs["num_layers"] * directions, y.shape[1]
        states = ins[1:] or [tape.new((count, batch, width), dtype) for width in self.state_widths(attrs)]
        for layer in range(attrs["num_layers"]):
            if layer:
                y = tape.dropout(y, attrs["dropout"])
            for suffix in ("", "_reverse")[:directions]:
                own = {n: weights.get(f"{n}_l{layer}{suffix}") for n in ("weight_ih", "weight_hh", "weight_hr")}
                self._keep(tape, y, states, own, attrs)
            y = tape.new((*y.shape[:2], directions * self._out(attrs)), dtype, given)
        y = tape.transpose(y, 0, 1) if first else y
        return (y, *(tape.new(out.shape, out.dtype, given) for out in outs[1:]))

    def _keep(
        self, tape: Tape, x: Ghost, states: Sequence[Ghost], own: Mapping[str, Ghost | None], attrs: Attrs
    ) -> None:
        """What the steps of one layer and direction keep: `per_step` tensors, and the states that they start from."""
        inner, recurrent = own["weight_ih"], own["weight_hh"]
        assert inner is not None and recurrent is not None
        tape.linear(x, inner)
        steps, batch = x.shape[:2]
        y = tape.new((steps, batch, self._out(attrs)), x.dtype, (x, *states, *(w for w in own.values() if w)))
        for width in self.per_step(attrs):
            tape.extra(y, (steps, batch, width), x.dtype)
        for state, width in zip(states, self.state_widths(attrs), strict=True):
            if y.grad and (state is not states[0] or recurrent.grad):
                tape.keep(state)
                if not self.keeps_new_state:
                    tape.extra(y, (steps - 1, batch, width), x.dtype)

    @abstractmethod
    def per_step(self, attrs: Attrs) -> tuple[int, ...]:
        """Widths of the tensors [B, width] that each step keeps, beside the states that it starts from."""

    def module(self, attrs: Attrs) -> Call:
        own = [p for p in self.params[1:] if p.name not in ("init", "bias_init")]
        named = (
            (p.name, attrs[p.name], False if p.name == "batch_first" else p.default) for p in own
        )  # torch's default is batch_first=False
        return Call(f"nn.{self.torch_class}", (Lit(attrs["input_size"]), Lit(attrs["hidden_size"])), kwargs(*named))

    def start(self, ins: Sequence[Any], attrs: Attrs) -> list[Any]:
        """The initial states: the wires, or zeros."""
        x, *states = ins
        count = attrs["num_layers"] * (1 + attrs["bidirectional"])
        batch = x.shape[0 if attrs["batch_first"] else 1]
        return states or [x.new_zeros(count, batch, width) for width in self.state_widths(attrs)]

    def compute(
        self, function: Any, x: Any, state: Any, weights: Mapping[str, Any], attrs: Attrs, training: bool
    ) -> Any:
        flat = [weights[decl.name] for decl in self.weights(attrs)]
        options = (attrs["bias"], attrs["num_layers"], attrs["dropout"], training, attrs["bidirectional"])
        return function(x, state, flat, *options, attrs["batch_first"])


_LSTM = Helper(
    "lstm_states",
    '''\
def lstm_states(
    lstm: nn.LSTM, x: torch.Tensor, *start: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The outputs of all steps, and the last hidden and cell states."""
    output, (h, c) = lstm(x, start or None)
    return output, h, c
''',
)


@register
class LSTM(_Recurrent):
    """Long short-term memory: (output, h, c). Two more wires, h and c, are the initial state."""

    name = "lstm"
    torch_class = "LSTM"
    gates = 4
    inputs = (Input("x"), Input("h", optional=True), Input("c", optional=True))
    params = (Param("hidden_size", "int"), *_COMMON, Param("proj_size", "int", 0), *_INITS)

    def state_widths(self, attrs: Attrs) -> tuple[int, ...]:
        return (self._out(attrs), attrs["hidden_size"])

    def per_step(self, attrs: Attrs) -> tuple[int, ...]:
        """The gates, tanh of the cell, and what is projected."""
        hidden = attrs["hidden_size"]
        return (4 * hidden, hidden, *((hidden,) if attrs["proj_size"] else ()))

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call("lstm_states", (Self(), *wires(inputs)))

    def helpers(self, attrs: Attrs) -> tuple[Helper, ...]:
        return (_LSTM,)

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        return self.compute(torch.lstm, ins[0], self.start(ins, attrs), weights, attrs, training)


class _OneState(_Recurrent):
    inputs = (Input("x"), Input("h", optional=True))

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call(Self(), wires(inputs))


@register
class GRU(_OneState):
    """Gated recurrent unit: (output, h). A second wire, h, is the initial state."""

    name = "gru"
    torch_class = "GRU"
    gates = 3
    params = (Param("hidden_size", "int"), *_COMMON, *_INITS)

    def per_step(self, attrs: Attrs) -> tuple[int, ...]:
        """The gates, the candidate, and what each of the two products in place changes."""
        hidden = attrs["hidden_size"]
        return (3 * hidden, hidden, hidden, hidden)

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        return self.compute(torch.gru, ins[0], self.start(ins, attrs)[0], weights, attrs, training)


@register
class RNN(_OneState):
    """Elman's recurrent layer: (output, h). A second wire, h, is the initial state."""

    name = "rnn"
    torch_class = "RNN"
    gates = 1
    params = (
        Param("hidden_size", "int"),
        _COMMON[0],
        Param("nonlinearity", "str", "tanh", choices=("tanh", "relu")),
        *_COMMON[1:],
        *_INITS,
    )

    keeps_new_state = True

    def per_step(self, attrs: Attrs) -> tuple[int, ...]:
        """The new state."""
        return (attrs["hidden_size"],)

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        function = torch.rnn_tanh if attrs["nonlinearity"] == "tanh" else torch.rnn_relu
        return self.compute(function, ins[0], self.start(ins, attrs)[0], weights, attrs, training)
