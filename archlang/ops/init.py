"""Initialisers as data: the table of names, their checks, their torch code, and their values for the interpreter.

Names and arguments are those of `torch.nn.init` without the underscore. Three are our own: `unit(n, i)` is the i-th
unit vector of length n, `values(numbers)` fills the last dimensions entry by entry, the same for all others, and
`columns(...)` puts initialisers side by side in a matrix.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from archlang.ir.graph import Attr, Init
from archlang.ops.base import REQUIRED, OpError, Param
from archlang.ops.code import Call, Expr, Get, Item, Kw, Lit, Method, Seq
from archlang.records import dataclass

__all__ = ["INITIALISERS", "Initialiser", "as_init", "check", "emit", "make", "run"]

_MODES = ("fan_in", "fan_out")
_NONLINEARITIES = (
    "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "sigmoid",
    "tanh", "relu", "leaky_relu", "selu",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Initialiser:
    """A name of the table: its parameters, and the least number of dimensions of a tensor that it fills."""

    params: tuple[Param, ...] = ()
    least_rank: int = 0
    variadic: bool = False  # takes any number of initialisers


_VECTORS = ("unit", "values")  # fill one dimension
_GAIN = (Param("gain", "float", 1.0),)
_KAIMING = (
    Param("a", "float", 0.0),
    Param("mode", "str", "fan_in", _MODES),
    Param("nonlinearity", "str", "leaky_relu", _NONLINEARITIES),
)

INITIALISERS: Mapping[str, Initialiser] = {
    "columns": Initialiser(least_rank=2, variadic=True),
    "constant": Initialiser((Param("value", "float"),)),
    "dirac": Initialiser((Param("groups", "int", 1),), least_rank=3),
    "eye": Initialiser((Param("n", "int?", None),), least_rank=2),
    "kaiming_normal": Initialiser(_KAIMING, least_rank=2),
    "kaiming_uniform": Initialiser(_KAIMING, least_rank=2),
    "normal": Initialiser((Param("mean", "float", 0.0), Param("std", "float", 1.0))),
    "ones": Initialiser(),
    "orthogonal": Initialiser(_GAIN, least_rank=2),
    "trunc_normal": Initialiser(
        (Param("mean", "float", 0.0), Param("std", "float", 1.0), Param("a", "float", -2.0), Param("b", "float", 2.0))
    ),
    "uniform": Initialiser((Param("a", "float", 0.0), Param("b", "float", 1.0))),
    "unit": Initialiser((Param("n", "int"), Param("i", "int")), least_rank=1),
    "values": Initialiser((Param("numbers", "floats"),), least_rank=1),
    "xavier_normal": Initialiser(_GAIN, least_rank=2),
    "xavier_uniform": Initialiser(_GAIN, least_rank=2),
    "zeros": Initialiser(),
}


# -- from the author's text ------------------------------------------------------------------------------------------
def make(name: str, positional: Sequence[Any] = (), named: Mapping[str, Any] | None = None) -> Init:
    """The initialiser `name(...)`. Arguments that equal their defaults are left out, so that equal ones compare equal.

    Raises OpError for missing, superfluous and mistyped arguments.
    """
    entry = INITIALISERS[name]
    if entry.variadic:
        return _columns(name, positional, named or {})
    if len(positional) > len(entry.params):
        raise OpError("ARC0251", f"`{name}` takes {len(entry.params)} arguments, not {len(positional)}")
    given = dict(zip((p.name for p in entry.params), positional, strict=False))
    for key, value in (named or {}).items():
        if key not in {p.name for p in entry.params}:
            raise OpError("ARC0251", f"`{name}` has no parameter `{key}`", param=key)
        if key in given:
            raise OpError("ARC0251", f"`{name}` gets `{key}` twice", param=key)
        given[key] = value
    args: list[tuple[str, Attr]] = []
    for param in entry.params:
        if param.name not in given and param.default is REQUIRED:
            raise OpError("ARC0251", f"`{name}` needs `{param.name}`", param=param.name)
        value = _typed(name, param, given.get(param.name, param.default))
        if value != param.default:
            args.append((param.name, value))
    init = Init(name, tuple(args))
    _check_values(init)
    return init


def _columns(name: str, positional: Sequence[Any], named: Mapping[str, Any]) -> Init:
    if named or not positional:
        raise OpError("ARC0251", f"`{name}` takes one or more initialisers, one beside the other")
    items = [as_init(value) for value in positional]
    for i, item in enumerate(items):
        if item is None or item.name == "columns":
            raise OpError("ARC0251", f"`{name}` takes initialisers, and its argument {i + 1} is none")
    return Init(name, tuple((str(i), item) for i, item in enumerate(items)))


def _typed(name: str, param: Param, value: Any) -> Any:
    kind = param.kind.rstrip("?")
    if kind == "floats" and isinstance(value, list | tuple) and value and all(map(_is_number, value)):
        return tuple(float(v) for v in value)
    number = _is_number(value)
    fits = {"float": number, "int": number and isinstance(value, int), "str": isinstance(value, str)}.get(kind, False)
    if not fits and not (value is None and param.kind.endswith("?")):
        wanted = {"float": "a number", "int": "an int", "str": "a string", "floats": "a list of numbers"}[kind]
        raise OpError("ARC0251", f"`{param.name}` of `{name}` takes {wanted}", param=param.name)
    if param.choices and value not in param.choices:
        listed = ", ".join(f'"{c}"' for c in param.choices)
        message = f'`{param.name}` of `{name}` cannot be "{value}"'
        raise OpError("ARC0252", message, param=param.name, help=f"it is one of {listed}")
    return float(value) if kind == "float" and param.default is not REQUIRED else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_init(value: Any) -> Init | None:
    """An initialiser from what stands where one is expected: itself, a number (constant), a name; None otherwise."""
    if isinstance(value, Init):
        return value
    if _is_number(value):
        return Init("constant", (("value", value),))
    if isinstance(value, str) and value in INITIALISERS:
        entry = INITIALISERS[value]
        if not entry.variadic and all(p.default is not REQUIRED for p in entry.params):
            return Init(value)
    return None


def _arguments(init: Init) -> dict[str, Any]:
    """All arguments, defaults filled in."""
    given = dict(init.args)
    return {p.name: given.get(p.name, p.default) for p in INITIALISERS[init.name].params}


# -- misuse ----------------------------------------------------------------------------------------------------------
def _check_values(init: Init) -> None:
    args = _arguments(init)
    if args.get("std", 0) < 0:
        raise OpError("ARC0252", f"`{init.name}`: std is {args['std']}, and cannot be negative", param="std")
    if init.name in ("uniform", "trunc_normal") and args["a"] > args["b"]:
        raise OpError("ARC0252", f"`{init.name}`: a = {args['a']} is above b = {args['b']}", param="a")
    if init.name == "unit" and not 0 <= args["i"] < args["n"]:
        message = f"`unit({args['n']}, {args['i']})`: i must be at least 0 and below n"
        raise OpError("ARC0252", message, param="i")
    if init.name == "dirac" and args["groups"] < 1:
        raise OpError("ARC0252", f"`dirac`: groups is {args['groups']}, and must be at least 1", param="groups")


def check(init: Init, shape: Sequence[int]) -> None:
    """Raises OpError where the initialiser cannot fill a tensor of this shape."""
    entry, args = INITIALISERS[init.name], _arguments(init)
    text = "[" + ", ".join(map(str, shape)) + "]"
    if len(shape) < entry.least_rank:
        help = "a vector takes normal, uniform, zeros, ..." if entry.least_rank == 2 else None
        message = f"`{init.name}` needs at least {entry.least_rank} dimensions, and this weight is {text}"
        raise OpError("ARC0253", message, help=help)
    most = {"columns": 2, "dirac": 5, "eye": 2, "unit": 1}.get(init.name, len(shape))
    if len(shape) > most:
        raise OpError("ARC0253", f"`{init.name}` fills at most {most} dimensions, and this weight is {text}")
    if init.name == "unit" and shape[0] != args["n"]:
        raise OpError("ARC0254", f"`{init}` has length {args['n']}, and this weight is {text}")
    if init.name == "values" and _last(shape, len(args["numbers"])) is None:
        message = f"`values` has {len(args['numbers'])} numbers, which are not the last dimensions of {text}"
        raise OpError("ARC0254", message)
    if init.name == "eye" and args["n"] not in (None, *shape):
        raise OpError("ARC0254", f"`{init}` is {args['n']} by {args['n']}, and this weight is {text}")
    if init.name == "eye" and args["n"] is not None and shape[0] != shape[1]:
        raise OpError("ARC0254", f"`{init}` is {args['n']} by {args['n']}, and this weight is {text}")
    if init.name == "dirac" and shape[0] % args["groups"]:
        message = f"`dirac`: groups = {args['groups']} does not divide dimension 0 of {text}"
        raise OpError("ARC0254", message, param="groups")
    if init.name == "columns":
        for item, part in _shapes(init, (shape[0], shape[1])):
            check(item, part)


def _last(shape: Sequence[int], count: int) -> Sequence[int] | None:
    """The last dimensions that have `count` entries; None where there are none such."""
    return next((shape[i:] for i in reversed(range(len(shape))) if math.prod(shape[i:]) == count), None)


def _width(item: Init, rows: int) -> int | None:
    """Columns that an initialiser fills by itself; None where it fills any number."""
    if item.name in _VECTORS:
        return 1
    if item.name == "eye":
        n = _arguments(item)["n"]
        return rows if n is None else int(n)
    return None


def _shapes(init: Init, shape: tuple[int, int]) -> list[tuple[Init, tuple[int, ...]]]:
    """The parts of `columns` with their shapes: parts without a width of their own share what is left evenly."""
    items = [item for _, item in init.args if isinstance(item, Init)]
    own = [_width(item, shape[0]) for item in items]
    left = shape[1] - sum(w for w in own if w is not None)
    free = own.count(None)
    if left < 0 or (left % free if free else left):
        fixed = f"its parts have {shape[1] - left} columns"
        message = f"`{init}` does not fill [{shape[0]}, {shape[1]}]: {fixed}"
        raise OpError("ARC0254", message + (f", and {left} are left for {free} parts" if free else ""))
    sizes = [(shape[0], left // free if w is None else w) for w in own]
    return [(item, size[:1] if item.name in _VECTORS else size) for item, size in zip(items, sizes, strict=True)]


# -- torch code ------------------------------------------------------------------------------------------------------
def emit(init: Init, target: Expr, shape: Sequence[int] | None = None) -> Expr:
    """One expression statement that fills `target` in place; it needs no `torch.no_grad()` around it.

    `shape` is needed for `columns` with parts that have no width of their own.
    """
    if init.name in (*_VECTORS, "columns"):
        return Method(Get(target, "data"), "copy_", (_value(init, shape),))
    return _fill(init, target)


def _fill(init: Init, target: Expr) -> Expr:
    given = tuple((k, v) for k, v in init.args if init.name != "eye")
    if init.name == "constant":
        return Call("nn.init.constant_", (target, Lit(given[0][1])))
    return Call(f"nn.init.{init.name}_", (target,), tuple(Kw(k, Lit(v)) for k, v in given))


def _value(init: Init, shape: Sequence[int] | None) -> Expr:
    """A new tensor with the initialiser's values."""
    args = _arguments(init)
    if init.name == "unit":
        return Item(Call("torch.eye", (Lit(args["n"]),)), (Lit(args["i"]),))
    if init.name == "values":
        last = _last(shape or (), len(args["numbers"])) or ()
        return Call("torch.tensor", (_nested([Lit(v) for v in args["numbers"]], last[1:]),))
    if init.name == "eye":
        n = args["n"]
        if n is None and shape is None:
            raise ValueError("`eye` without a size needs the weight's shape")
        return Call("torch.eye", (Lit(n),) if n is not None or shape is None else (Lit(shape[0]), Lit(shape[1])))
    if init.name == "columns":
        return Call("torch.column_stack", (Seq(_parts(init, shape), "list"),))
    if shape is None:
        raise ValueError(f"`{init.name}` needs the weight's shape")
    sizes = tuple(Lit(s) for s in shape)
    if init.name in ("zeros", "ones"):
        return Call(f"torch.{init.name}", sizes)
    return _fill(init, Call("torch.empty", sizes))


def _nested(items: Sequence[Expr], sizes: Sequence[int]) -> Expr:
    """A list of the items, in lists of such sizes from the inside out."""
    for size in reversed(sizes):
        items = [Seq(tuple(items[i : i + size]), "list") for i in range(0, len(items), size)]
    return Seq(tuple(items), "list")


def _parts(init: Init, shape: Sequence[int] | None) -> tuple[Expr, ...]:
    if shape is None:
        return tuple(_value(item, None) for _, item in init.args if isinstance(item, Init))
    return tuple(_value(item, part) for item, part in _shapes(init, (shape[0], shape[1])))


# -- values for the interpreter --------------------------------------------------------------------------------------
def run(init: Init, shape: Sequence[int], dtype: Any) -> Any:
    """A tensor with the initialiser's values; random ones draw from torch's global generator as the emission does."""
    import torch

    args = _arguments(init)
    x = torch.empty(tuple(shape), dtype=dtype)
    match init.name:
        case "zeros" | "ones" | "constant":
            value: float = {"zeros": 0, "ones": 1}.get(init.name, args.get("value", 0))
            return x.fill_(value)
        case "uniform":
            return x.uniform_(args["a"], args["b"])
        case "normal":
            return x.normal_(args["mean"], args["std"])
        case "trunc_normal":
            return torch.nn.init.trunc_normal_(x, **args)
        case "orthogonal":
            return torch.nn.init.orthogonal_(x, **args)
        case "unit":
            return x.zero_().index_fill_(0, torch.tensor([args["i"]]), 1)
        case "values":
            last = _last(shape, len(args["numbers"])) or ()
            return x.copy_(torch.tensor(args["numbers"], dtype=torch.float64).reshape(tuple(last)))
        case "eye":
            return x.zero_().fill_diagonal_(1)
        case "dirac":
            return _run_dirac(x, args["groups"])
        case "columns":
            start = 0
            for item, part in _shapes(init, (shape[0], shape[1])):
                values = run(item, part, dtype).reshape(shape[0], -1)
                x[:, start : start + values.shape[1]] = values
                start += values.shape[1]
            return x
        case _:
            return _run_scaled(init.name, x, args)


def _run_dirac(x: Any, groups: int) -> Any:
    x.zero_()
    centre = tuple(size // 2 for size in x.shape[2:])
    per_group = x.shape[0] // groups
    for group in range(groups):
        for channel in range(min(per_group, x.shape[1])):
            x[(group * per_group + channel, channel, *centre)] = 1
    return x


def _run_scaled(name: str, x: Any, args: Mapping[str, Any]) -> Any:
    """Xavier (Glorot and Bengio, 2010) and Kaiming (He et al., 2015): a spread from the numbers of connections."""
    import torch

    area = math.prod(x.shape[2:])
    fan_in, fan_out = x.shape[1] * area, x.shape[0] * area
    if name.startswith("xavier"):
        std = args["gain"] * math.sqrt(2.0 / float(fan_in + fan_out))
    else:
        fan = fan_in if args["mode"] == "fan_in" else fan_out
        std = torch.nn.init.calculate_gain(args["nonlinearity"], args["a"]) / math.sqrt(fan)
    if name.endswith("normal"):
        return x.normal_(0, std)
    bound = math.sqrt(3.0) * std
    return x.uniform_(-bound, bound)
