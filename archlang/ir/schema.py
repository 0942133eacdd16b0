"""The JSON form of a program as pydantic models: the published schema. `serialize` goes in both directions.

References are names and numbers: a graph by its name, a value by its number in its graph, a source by its index.
A size is a number, a symbol's name, or a sum of products; nothing is parsed from text, nothing evaluated.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr
from typing_extensions import TypeAliasType

__all__ = ["VERSION", "ProgramModel", "json_schema"]

VERSION = 1


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FactorModel(Model):
    """`symbol ** power`, or `(floor // by) ** power`."""

    symbol: str | None = None
    floor: SizeModel | None = None
    by: SizeModel | None = None
    power: int = Field(1, ge=1)


class TermModel(Model):
    """`coefficient` times the product of the factors."""

    coefficient: int = 1
    factors: list[FactorModel] = []


class SumModel(Model):
    """The sum of the terms."""

    sum: list[TermModel]


SizeModel = TypeAliasType("SizeModel", Union[StrictInt, StrictStr, SumModel])


class SizeAttr(Model):
    """A symbolic size as an attribute."""

    size: SizeModel


class FloatAttr(Model):
    """A float that JSON has no number for."""

    float: Literal["inf", "-inf", "nan"]


class InitModel(Model):
    """An initialiser and its arguments, in order."""

    init: str
    args: dict[str, AttrModel] = {}


AttrModel = TypeAliasType(
    "AttrModel",
    "Union[StrictBool, StrictInt, StrictFloat, StrictStr, list[AttrModel], SizeAttr, FloatAttr, InitModel, None]",
)


class SourceModel(Model):
    """A text that spans point into."""

    path: str
    text: str


class SpanModel(Model):
    """Characters `start` to `end` (half-open, from 0) of source number `file`; `line` and `column` count from 1."""

    file: int
    line: int
    column: int
    start: int
    end: int


class TypeModel(Model):
    shape: list[SizeModel]
    dtype: str = "float"


class ValueModel(Model):
    """A wire, where it is defined. `id` is its number in the graph."""

    id: int
    type: TypeModel
    name: str = ""


class WeightModel(Model):
    name: str
    shape: list[int]
    init: InitModel | None = None
    dtype: str = "float"
    kind: Literal["parameter", "buffer"] = "parameter"
    trainable: bool = True
    persistent: bool = True
    constraint: str | None = None
    span: SpanModel | None = None


class ChildModel(Model):
    path: str
    span: SpanModel | None = None
    op: str | None = None
    attrs: dict[str, AttrModel] = {}
    weights: list[WeightModel] = []
    graph: str | None = None
    count: int = Field(1, ge=1)


class NodeModel(Model):
    op: str
    inputs: list[int]
    outputs: list[ValueModel]
    span: SpanModel | None = None
    attrs: dict[str, AttrModel] = {}
    path: str | None = None
    callee: str | None = None
    count: int = Field(1, ge=1)
    sizes: dict[str, SizeModel] = {}
    modules: dict[str, str] = {}
    phase: Literal["train", "eval"] | None = None
    inverted: bool = False
    log_det: bool = False


class PortModel(Model):
    name: str
    values: list[ValueModel]
    kind: Literal["tensor", "tensors"] = "tensor"
    context: bool = False
    span: SpanModel | None = None


class OutputModel(Model):
    values: list[int]
    name: str = ""
    kind: Literal["tensor", "tensors"] = "tensor"
    training: bool = False


class ConstraintModel(Model):
    left: SizeModel
    right: SizeModel
    relation: Literal["==", ">="]
    reason: str
    span: SpanModel | None = None
    phase: Literal["train", "eval"] | None = None
    rule: Literal["torch", "broadcast", "language", "promise"] = "torch"
    cases: list[list[ConstraintModel]] = []


class StepModel(Model):
    """`node` is a place in the graph's list of nodes; `consumed` and `made` are values."""

    kind: Literal["update", "contraction", "apply", "split", "concat", "new"]
    node: int | None = None
    consumed: list[int] = []
    made: list[int]
    span: SpanModel | None = None
    names: list[str] = []


class ProofModel(Model):
    """How a graph is undone: its steps, in order of execution."""

    grade: Literal["bijective", "injective", "approximate"] = "bijective"
    steps: list[StepModel] = []
    outputs: int = 1
    hypotheses: list[str] = []
    effects: list[str] = []
    tolerance: float | None = None


class GraphModel(Model):
    name: str
    block: str
    span: SpanModel | None = None
    inputs: list[PortModel] = []
    outputs: list[OutputModel] = []
    nodes: list[NodeModel] = []
    children: dict[str, ChildModel] = {}
    weights: dict[str, WeightModel] = {}
    borrowed: dict[str, ChildModel] = {}
    aliases: dict[str, str] = {}
    symbols: list[str] = []
    constraints: list[ConstraintModel] = []
    params: dict[str, AttrModel] = {}
    doc: str = ""
    sequential: bool = False
    reversible: bool = False
    proof: ProofModel | None = None


class ProgramModel(Model):
    """A program: its graphs, callees first, the root's name, and the texts that spans point into."""

    format: Literal["archlang-ir"]
    version: Annotated[int, Field(ge=1, le=VERSION)]
    root: str
    sources: list[SourceModel] = []
    graphs: list[GraphModel]


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the form."""
    return ProgramModel.model_json_schema()


def main() -> None:
    """Prints the schema as `docs/ir.schema.json` publishes it: `python -m archlang.ir.schema > docs/ir.schema.json`."""
    import json

    print(json.dumps(json_schema(), indent=2, sort_keys=True))


if __name__ == "__main__":
    main()
