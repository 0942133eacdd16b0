"""archlang: a declarative language and compiler for neural-network macro-architectures.

    import archlang

    model = archlang.build("designs/net.arch", "net", classes=10)

Importing this package imports neither torch nor the compiler: both come with the first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from archlang.api import Applied, Compiled, apply, build, check, compile
    from archlang.report.diagnostic import ArchError, Diagnostic

__all__ = ["Applied", "ArchError", "Compiled", "Diagnostic", "__version__", "apply", "build", "check", "compile"]

__version__ = "0.1.0"

_HOME = {
    "ArchError": "archlang.report.diagnostic",
    "Diagnostic": "archlang.report.diagnostic",
    "Applied": "archlang.api",
    "Compiled": "archlang.api",
    "apply": "archlang.api",
    "build": "archlang.api",
    "check": "archlang.api",
    "compile": "archlang.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=None)
    from importlib import import_module

    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
