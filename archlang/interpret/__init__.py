"""Runs the IR on torch directly: the oracle that generated code is compared with. Shares no code with the generator."""

from archlang.interpret.interpreter import Interpreter, InterpretError
from archlang.interpret.module import InterpreterModule

__all__ = ["InterpretError", "Interpreter", "InterpreterModule"]
