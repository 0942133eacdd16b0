"""Where a graph's modules and weights live on `self`: attributes, containers for dotted paths, and how to reach them.

A dotted path becomes an nn.ModuleList (numbered from 0), an nn.ModuleDict (names), or, where neither can hold its
segments, a bare nn.Module filled with `add_module`. State-dict keys are the paths in every case.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Union

from archlang.codegen.body import Do, ForRange, InitItem, SetAttr
from archlang.codegen.exprs import SELF, Call, Get, Item, Kwarg, Leaf, Map, Py, Raw, Rep, Seq, Slice
from archlang.codegen.names import DICT_ATTRIBUTES, attribute
from archlang.codegen.printer import string
from archlang.elaborate.reserved import MODULE_ATTRIBUTES
from archlang.ir.paths import split_index

__all__ = ["Layout", "Slot"]


@dataclass(frozen=True, slots=True)
class Slot:
    """One thing under a path: `count` fresh modules, or a declared weight."""

    path: str
    value: Py
    count: int = 1
    kind: str = "module"  # "module" | "parameter" | "buffer" | "alias" (of the module under `first`)
    first: str = ""
    persistent: bool = True


@dataclass(slots=True)
class _Box:
    path: str
    entries: dict[str, Union[Slot, _Box]] = field(default_factory=dict)
    kind: str = ""  # "list" | "dict" | "bare"


class Layout:
    """Built from all slots of a graph; then answers how a path is written."""

    def __init__(self, slots: list[Slot]) -> None:
        self._root = _Box("")
        self._slots = {slot.path: slot for slot in slots}
        for slot in slots:
            *above, last = slot.path.split(".")
            box = self._root
            for i, segment in enumerate(above):
                inner = box.entries.setdefault(segment, _Box(".".join(above[: i + 1])))
                assert isinstance(inner, _Box), f"{slot.path} lies inside another module"
                box = inner
            box.entries[last] = slot
        for entry in self._root.entries.values():
            if isinstance(entry, _Box):
                _classify(entry)
        only_modules = all(slot.kind == "module" for slot in slots)
        self.is_list = bool(slots) and only_modules and _numbered(self._root) and not _bare_inside(self._root)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names that are taken on `self`."""
        return tuple(self._root.entries)

    # -- construction ------------------------------------------------------------------------------------------------
    def base(self) -> tuple[Py, ...]:
        """Arguments of super().__init__() for a subclass of nn.ModuleList."""
        return (_items(self._root),) if self.is_list else ()

    def items(self) -> list[InitItem]:
        """Statements that build everything."""
        if self.is_list:
            return []
        found: list[InitItem] = []
        for segment, entry in self._root.entries.items():
            if isinstance(entry, Slot):
                if entry.kind != "alias":
                    found.append(_place(SELF, segment, entry, top=True))
            elif entry.kind == "bare" or not attribute(segment):
                found.extend(self._bare(SELF, segment, entry, top=True))
            else:
                found.append(SetAttr(segment, _container(entry)))
        return [*found, *self._aliases()]

    def _bare(self, owner: Py, segment: str, box: _Box, *, top: bool) -> Iterator[InitItem]:
        yield _place(owner, segment, Slot(box.path, Call(Raw("nn.Module"))), top=top)
        here: Py = Get(SELF, segment) if top and attribute(segment) else _method(SELF, "get_submodule", box.path)
        for name, entry in box.entries.items():
            if isinstance(entry, _Box):
                yield from self._bare(here, name, entry, top=False)
            elif entry.kind != "alias":
                yield _place(here, name, entry, top=False)

    def _aliases(self) -> Iterator[InitItem]:
        """Second names of modules, once all first names are there."""
        for slot in self._slots.values():
            if slot.kind != "alias":
                continue
            stem, _, segment = slot.path.rpartition(".")
            owner = _method(SELF, "get_submodule", stem) if stem else SELF
            yield _place(owner, segment, Slot(slot.path, self.module(slot.first)), top=not stem)

    # -- access ------------------------------------------------------------------------------------------------------
    def module(self, path: str) -> Py:
        """The module under a path, which may be a member of a run."""
        segments = path.split(".")
        if self.is_list and len(segments) == 1:
            return Item(SELF, (Raw(path),))
        if len(segments) == 1 and attribute(path):
            return Get(SELF, path)
        box = self._box(segments[0])
        if len(segments) == 2 and box is not None and attribute(segments[0]) and box.kind != "bare":
            key = segments[1] if box.kind == "list" else string(segments[1])
            return Item(Get(SELF, segments[0]), (Raw(key),))
        return _method(SELF, "get_submodule", path)

    def run(self, path: str, count: int) -> Py | None:
        """The modules of a run as something to iterate over; None where they do not lie in an nn.ModuleList."""
        found = split_index(path)
        if found is None:
            return None
        stem, first = found
        if stem == "":
            whole: Py = SELF
            box: _Box | None = self._root if self.is_list else None
        else:
            box = self._box(stem) if "." not in stem and attribute(stem) else None
            whole = Get(SELF, stem)
        if box is None or (box.kind != "list" and box is not self._root):
            return None
        total = sum(e.count if isinstance(e, Slot) else 1 for e in box.entries.values())
        if first == 0 and count == total:
            return whole
        upper = None if first + count == total else Leaf(first + count, "stop")
        if whole is SELF:  # a slice of a subclass would call the subclass's constructor
            whole = Call(Raw("list"), (SELF,))
        return Item(whole, (Slice(Leaf(first) if first else None, upper),))

    def weight(self, path: str) -> Py:
        """A declared weight."""
        if "." not in path and attribute(path):
            return Get(SELF, path)
        slot = self._slots[path]
        return _method(SELF, "get_buffer" if slot.kind == "buffer" else "get_parameter", path)

    def _box(self, segment: str) -> _Box | None:
        entry = self._root.entries.get(segment)
        return entry if isinstance(entry, _Box) else None


# -- containers --------------------------------------------------------------------------------------------------------
def _numbered(box: _Box) -> bool:
    """Whether the entries are 0, 1, 2, ... in this order, runs counted."""
    place = 0
    for segment, entry in box.entries.items():
        if segment != str(place):
            return False
        place += entry.count if isinstance(entry, Slot) else 1
    return True


def _classify(box: _Box) -> None:
    for entry in box.entries.values():
        if isinstance(entry, _Box):
            _classify(entry)
    slots = [e for e in box.entries.values() if isinstance(e, Slot)]
    if any(s.kind != "module" for s in slots) or _bare_inside(box):
        _make_bare(box)
    elif _numbered(box):
        box.kind = "list"
    elif all(s.count == 1 for s in slots) and all(_is_key(s) for s in box.entries):
        box.kind = "dict"
    else:
        _make_bare(box)


def _make_bare(box: _Box) -> None:
    box.kind = "bare"
    for entry in box.entries.values():
        if isinstance(entry, _Box):
            _make_bare(entry)


def _bare_inside(box: _Box) -> bool:
    return any(isinstance(e, _Box) and e.kind == "bare" for e in box.entries.values())


def _is_key(segment: str) -> bool:
    return segment not in MODULE_ATTRIBUTES and segment not in DICT_ATTRIBUTES and not segment.startswith("__")


def _value(entry: Slot | _Box) -> Py:
    if isinstance(entry, _Box):
        return _container(entry)
    return entry.value if entry.count == 1 else Rep(entry.value, Leaf(entry.count, "depth"))


def _container(box: _Box) -> Py:
    if box.kind == "list":
        return Call(Raw("nn.ModuleList"), (_items(box),))
    return Call(Raw("nn.ModuleDict"), (Map(tuple((name, _value(e)) for name, e in box.entries.items())),))


def _items(box: _Box) -> Py:
    values = tuple(_value(e) for e in box.entries.values())
    if len(values) == 1 and isinstance(values[0], Rep):
        return replace(values[0], star=False)
    return Seq(values, "list")


# -- statements --------------------------------------------------------------------------------------------------------
def _method(owner: Py, name: str, *args: str) -> Call:
    return Call(Get(owner, name), tuple(Raw(string(a)) for a in args))


def _place(owner: Py, segment: str, slot: Slot, *, top: bool) -> InitItem:
    """Puts a slot under a name of its owner."""
    name = Raw(string(segment))
    if slot.kind == "buffer":
        keywords = () if slot.persistent else (Kwarg("persistent", Raw("False")),)
        call = Call(Get(owner, "register_buffer"), (name, slot.value), keywords)
        return SetAttr(segment, call, buffer=True) if top and attribute(segment) else Do(call)
    if slot.count > 1:
        first = split_index(slot.path)
        assert first is not None
        add = Call(Get(owner, "add_module"), (Raw("str(i)"), slot.value))
        return ForRange(first[1], Leaf(slot.count, "depth"), add)
    if top and attribute(segment):
        return SetAttr(segment, slot.value)
    return Do(Call(Get(owner, "register_parameter" if slot.kind == "parameter" else "add_module"), (name, slot.value)))
