"""What a forward returns: its annotation, the NamedTuple it may need, and the return statements."""

from __future__ import annotations

from dataclasses import dataclass

from archlang.codegen.body import Body, Returned
from archlang.codegen.names import FIELD_NAMES, Scope, identifier
from archlang.ir.walk import result_fields

__all__ = ["Result", "results"]


@dataclass(frozen=True, slots=True)
class Result:
    """What is returned in one mode. `fields` are those of the NamedTuple called `name`, None for plain results."""

    items: tuple[Returned, ...]
    fields: tuple[str, ...] | None = None
    name: str = ""

    @property
    def annotation(self) -> str:
        if self.name:
            return self.name
        kinds = [kind(o) for o in self.items]
        return kinds[0] if len(kinds) == 1 else f"tuple[{', '.join(kinds)}]" if kinds else "None"


def kind(output: Returned) -> str:
    return "list[Tensor]" if output.kind == "tensors" else "Tensor"


def results(body: Body, class_name: str, scope: Scope) -> list[Result]:
    """One result, or two where training returns more: first that of training."""
    modes = (True, False) if any(o.training for o in body.outputs) else (False,)
    found: list[Result] = []
    for training in modes:
        items = tuple(o for o in body.outputs if training or not o.training)
        fields = result_fields([o.output for o in items], True)
        name = ""
        if fields is not None:
            fields = tuple(_field(f, i, fields) for i, f in enumerate(fields))
            name = scope.take(f"{class_name}{'Training' if training and len(found) else ''}Output")
            known = next((r for r in found if r.fields == fields), None)
            name = known.name if known is not None else name
        found.append(Result(items, fields, name))
    return found


def _field(name: str, place: int, others: tuple[str, ...]) -> str:
    plain = identifier(name, "output")
    if plain in FIELD_NAMES:
        plain += "_"
    clash = any(identifier(o, "output") == plain for o in others[:place])
    return f"{plain}{place}" if clash else plain
