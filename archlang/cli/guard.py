"""Whatever happens below a command ends in diagnostics and an exit status, never in a traceback."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TextIO

from archlang.report.diagnostic import ArchError, Diagnostic

__all__ = ["UsageError", "guarded", "os_error", "show"]

FINE, FINDINGS, USAGE, INTERNAL, INTERRUPTED, BROKEN_PIPE, TERMINATED = 0, 1, 2, 3, 130, 141, 143


class UsageError(Exception):
    """The command line, or a file that it names, is at fault: exit status 2."""

    def __init__(self, code: str, message: str, help: str | None = None, notes: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.diagnostic = Diagnostic(code, message, None, help=help, notes=tuple(notes))


class _Terminated(BaseException):
    """SIGTERM: unwinds, so that temporary files are removed."""


def guarded(action: Callable[[], int]) -> int:
    """Runs a command; turns what it raises into diagnostics on standard error."""
    previous = _on_sigterm(_terminate)
    try:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # a name that the terminal cannot show must not end the command
                stream.reconfigure(errors="backslashreplace")
        status = action()
        sys.stdout.flush()
        return status
    except UsageError as error:
        show([error.diagnostic])
        return USAGE
    except ArchError as error:
        show(error.diagnostics)
        return USAGE if _outside_specs(error) else FINDINGS
    except BrokenPipeError:  # `archc list x | head`: the reader has had enough, which is no mistake
        _drop_stdout()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        show([Diagnostic("ARC0990", "interrupted; nothing was written", None)])
        return INTERRUPTED
    except _Terminated:
        return TERMINATED
    except SystemExit as stop:  # --help has been printed
        return int(stop.code or 0)
    except (RecursionError, MemoryError, OSError, Exception) as error:
        _debug()
        diagnostic, status = _unexpected(error)
        show([diagnostic])
        return status
    finally:
        _on_sigterm(previous)


def show(diagnostics: Iterable[Diagnostic], stream: TextIO | None = None, *, count: bool = True) -> None:
    """Prints diagnostics for people (default: on standard error), in colour where that shows."""
    from archlang.report.text import render_all, terminal_width, use_colour

    stream = stream or sys.stderr
    text = render_all(diagnostics, colour=use_colour(stream), limit=terminal_width(stream), count=count)
    stream.write(text + "\n" if text and not count else text)
    stream.flush()


def os_error(error: OSError, path: str, doing: str) -> UsageError:
    """What the system refused, in words: `doing` is "read" or "write"."""
    if isinstance(error, FileNotFoundError):
        return UsageError("ARC0902", f"cannot {doing} `{path}`: there is no such file or folder")
    if isinstance(error, IsADirectoryError):
        return UsageError("ARC0903", f"cannot {doing} `{path}`: it is a folder")
    if isinstance(error, PermissionError):
        return UsageError("ARC0904", f"cannot {doing} `{path}`: permission denied")
    return UsageError("ARC0905", f"cannot {doing} `{path}`: {error.strerror or error}")


def _outside_specs(error: ArchError) -> bool:
    """Whether all of it is about the command line (`--set width=...`) or the surroundings, not about a spec's text."""
    return all(
        d.code.startswith("ARC09") or (d.span is not None and d.span.source.path.startswith("--"))
        for d in error.diagnostics
    )


def _unexpected(error: BaseException) -> tuple[Diagnostic, int]:
    if isinstance(error, RecursionError):
        help = "split the expression or the blocks that nest deepest"
        return Diagnostic("ARC0991", "this is nested too deeply to be processed", None, help=help), FINDINGS
    if isinstance(error, MemoryError):
        return Diagnostic("ARC0992", "out of memory", None), FINDINGS
    if isinstance(error, OSError):
        return os_error(error, str(error.filename), "use").diagnostic if error.filename else _system(error), USAGE
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    message = f"internal error: {what}"
    help = "this is a mistake in archlang, not in your spec: please report it with the spec"
    notes = ("ARCHC_DEBUG=1 in the environment shows where it happened",)
    return Diagnostic("ARC0999", message, None, help=help, notes=notes), INTERNAL


def _system(error: OSError) -> Diagnostic:
    return Diagnostic("ARC0905", f"the system refused: {error.strerror or error}", None)


def _debug() -> None:
    if os.environ.get("ARCHC_DEBUG", "") not in {"", "0"}:
        import traceback

        traceback.print_exc()


def _drop_stdout() -> None:
    """Python flushes standard output once more at exit; give it somewhere to go."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    except (OSError, ValueError):
        pass


def _terminate(signum: int, frame: object) -> NoReturn:
    raise _Terminated


def _on_sigterm(handler: Any) -> Any:
    """Installs a handler and returns the one before; does nothing outside the main thread."""
    try:
        return signal.signal(signal.SIGTERM, handler if handler is not None else signal.SIG_DFL)
    except ValueError:
        return None
