"""`dataclass` for code that runs at every start: makes the classes that the standard library makes, at once.

The standard module writes and compiles up to eight functions for each class when the class is defined, and imports
`inspect`. Of some two hundred classes a command uses a few dozen: here a method is compiled when it is first called.
Type checkers, `match`, `dataclasses.fields` and `dataclasses.replace` see ordinary dataclasses. What the compiler does
not use is not here (`order`, `unsafe_hash`, `InitVar`, single fields by keyword).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass, field, replace
else:

    class Field:
        __slots__ = ("compare", "default", "factory", "metadata", "name", "type")

        def __init__(self, default, factory, compare, metadata):
            self.name = self.type = None
            self.default = default
            self.factory = factory
            self.compare = compare
            self.metadata = metadata

    _MISSING = object()

    def field(*, default=_MISSING, default_factory=_MISSING, compare=True, metadata=None):
        return Field(default, default_factory, compare, metadata)

    def dataclass(cls=None, /, *, eq=True, frozen=False, slots=False, weakref_slot=False, kw_only=False):
        if cls is None:
            return lambda cls: _made(cls, eq, frozen, slots, weakref_slot, kw_only)
        return _made(cls, eq, frozen, slots, weakref_slot, kw_only)

    def replace(record, /, **changes):
        """A copy with other values."""
        cls = record.__class__
        for name in cls.__record_fields__:
            if name not in changes:
                changes[name] = getattr(record, name)
        return cls(**changes)

    def _made(cls, eq, frozen, slots, weakref_slot, kw_only):
        """The class with the methods of a dataclass that it does not define itself."""
        namespace = cls.__dict__
        own, inherited = {}, {}
        for base in cls.__mro__[-1:0:-1]:
            inherited.update(base.__dict__.get("__record_fields__", ()))
        for name, kind in namespace.get("__annotations__", {}).items():
            if kind.startswith(("ClassVar", "typing.ClassVar")):
                continue
            default = namespace.get(name, _MISSING)
            item = own[name] = default if default.__class__ is Field else Field(default, _MISSING, True, None)
            item.name, item.type = name, (kind, kw_only)
        fields = {**inherited, **own}
        added = {
            "__record_fields__": fields,
            "__dataclass_fields__": _STANDARD,
            "__match_args__": tuple(name for name, item in fields.items() if not item.type[1]),
            "__init__": _late("__init__", _init, frozen),
            "__repr__": _repr,
        }
        if eq:
            added["__eq__"] = _late("__eq__", _eq)
            if "__hash__" not in namespace or (namespace["__hash__"] is None and "__eq__" in namespace):
                added["__hash__"] = _late("__hash__", _hash) if frozen else None
        if frozen:
            added["__setattr__"], added["__delattr__"] = _setattr, _delattr
            if slots:
                added["__getstate__"], added["__setstate__"] = _getstate, _setstate
        new = {name: value for name, value in added.items() if name not in namespace or name == "__hash__"}
        if not slots:
            for name, value in new.items():
                setattr(cls, name, value)
            for name, item in own.items():
                _set_default(cls, name, item)
            return cls
        kept = {n: v for n, v in namespace.items() if n not in own and n not in ("__dict__", "__weakref__")}
        slotted = {slot for base in cls.__mro__[1:-1] for slot in base.__dict__.get("__slots__", ())}
        slotting = (*own, "__weakref__") if weakref_slot else own
        kept["__slots__"] = tuple(name for name in slotting if name not in slotted)
        made = type(cls)(cls.__name__, cls.__bases__, {**kept, **new})
        made.__qualname__ = cls.__qualname__
        return made

    def _set_default(cls, name, item):
        if item.default is not _MISSING:
            setattr(cls, name, item.default)
        elif name in cls.__dict__:
            delattr(cls, name)

    # -- methods that are compiled when they are first called ----------------------------------------------------------
    def _late(name, write, *options):
        def method(self, *args, **kwargs):
            cls = next(c for c in self.__class__.__mro__ if c.__dict__.get(name) is method)
            text, names = write(cls, cls.__record_fields__, *options)
            exec(text, names)
            made = names[name]
            made.__qualname__ = f"{cls.__qualname__}.{name}"
            setattr(cls, name, made)
            return made(self, *args, **kwargs)

        return method

    def _init(cls, fields, frozen):
        names = {"_missing": _MISSING, "_set": object.__setattr__}
        slots = frozen and "__slots__" in cls.__dict__  # whose descriptors are the fastest way past `__setattr__`
        positional, keyword, body = [], [], []
        for name, item in fields.items():
            value = name
            if item.factory is not _MISSING:
                names[f"_new_{name}"] = item.factory
                default, value = "=_missing", f"_new_{name}() if {name} is _missing else {name}"
            elif item.default is not _MISSING:
                names[f"_default_{name}"] = item.default
                default = f"=_default_{name}"
            else:
                default = ""
            (keyword if item.type[1] else positional).append(name + default)
            if slots:
                names[f"_set_{name}"] = getattr(cls, name).__set__
                body.append(f" _set_{name}(self, {value})")
            else:
                body.append(f" _set(self, {name!r}, {value})" if frozen else f" self.{name} = {value}")
        if hasattr(cls, "__post_init__"):
            body.append(" self.__post_init__()")
        star = ["*"] if keyword else []
        head = f"def __init__({', '.join(['self', *positional, *star, *keyword])}):"
        return "\n".join([head, *body, " return"]), names

    def _compared(fields, of):
        return "(" + "".join(f"{of}.{name}, " for name, item in fields.items() if item.compare) + ")"

    def _eq(cls, fields):
        same = f"{_compared(fields, 'self')} == {_compared(fields, 'other')}"
        return f"def __eq__(self, other):\n return {same} if other.__class__ is self.__class__ else NotImplemented", {}

    def _hash(cls, fields):
        return f"def __hash__(self):\n return hash({_compared(fields, 'self')})", {}

    # -- methods that are rarely called --------------------------------------------------------------------------------
    def _repr(self):
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__record_fields__)
        return f"{self.__class__.__qualname__}({values})"

    def _setattr(self, name, value):
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def _delattr(self, name):
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def _getstate(self):
        return [getattr(self, name) for name in self.__record_fields__]

    def _setstate(self, state):
        for name, value in zip(self.__record_fields__, state, strict=True):
            object.__setattr__(self, name, value)

    class _Standard:
        """What the functions of `dataclasses` look at, made when they do."""

        def __get__(self, record, cls):
            import dataclasses

            found = {}
            for name, item in cls.__record_fields__.items():
                given = {"default": item.default, "default_factory": item.factory}
                given = {key: value for key, value in given.items() if value is not _MISSING}
                of = dataclasses.field(compare=item.compare, metadata=item.metadata, kw_only=item.type[1], **given)
                of.name, of.type, of._field_type = name, item.type[0], dataclasses._FIELD
                found[name] = of
            cls.__dataclass_fields__ = found
            return found

    _STANDARD = _Standard()

__all__ = ["dataclass", "field", "field_names", "replace"]


def field_names(record: object) -> tuple[str, ...]:
    """Of an instance of such a class; of anything else, none."""
    return tuple(getattr(record.__class__, "__record_fields__", ()))
