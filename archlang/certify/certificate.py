"""One design's certificate: sizes that were run, figures beside torch's, and findings where they disagree."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn

from archlang.analyze import Cost, cost
from archlang.api import Compiled
from archlang.certify.drift import Drift, drift
from archlang.certify.inverses import ALLOWED, Undone, undone
from archlang.certify.measure import Calls, Fake, begin, flat, macs_by_module, saved_by_module
from archlang.certify.places import deepest, span_at
from archlang.certify.remember import Remembered
from archlang.certify.sample import lenient, sample, usual
from archlang.inputs import random_inputs
from archlang.loading import module_of, root_class
from archlang.report.diagnostic import Diagnostic
from archlang.shapes.dim import evaluate
from archlang.verify.sets import PHASES, Domain, domain
from archlang.verify.subject import shown
from archlang.verify.text import set_text

__all__ = ["Certificate", "Figure", "Ran", "Runner", "certify"]

NAMES = {"eval": "evaluation", "train": "training"}
EXTERN = "what an extern block declares must be what its code does; the compiler believes it"
RUNS = 2_000_000_000  # MACs up to which a design is trained for a step
HOLDS = 2**31  # bytes that such a step may keep
OWN = "this is a mistake in archlang, not in your spec: please report it with the spec"


@dataclass(slots=True)
class Ran:
    """Sizes that were run in one phase. lenient: outside of the set, but only by what torch does not refuse."""

    phase: str
    text: str
    inside: int = 0
    outside: int = 0
    lenient: int = 0
    wrong: int = 0

    def add(self, other: Ran) -> None:
        """Counts another run's sizes with these."""
        self.inside += other.inside
        self.outside += other.outside
        self.lenient += other.lenient
        self.wrong += other.wrong


@dataclass(frozen=True, slots=True)
class Figure:
    """A predicted number beside torch's, None where it was not compared. at: the sizes that it depends on."""

    name: str
    at: Mapping[str, int]
    predicted: int
    measured: int | None
    unit: str = ""


@dataclass(slots=True)
class Certificate:
    """What was found of a design. not_counted: extern blocks and what runs backwards, as in `Cost.uncounted`."""

    name: str
    spec: str
    ran: list[Ran] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    not_counted: tuple[str, ...] = ()
    not_measured: str | None = None  # why some figures are missing
    drift: Drift | None = None  # of rebuilt streams, where there are some
    undone: list[Undone] = field(default_factory=list)  # extern blocks that declare an inverse
    found: list[Diagnostic] = field(default_factory=list)


def certify(compiled: Compiled, count: int, dtype: str = "float32") -> Certificate:
    """Runs a design at `count` sizes a phase, and compares its figures. Imports the modules of its extern blocks.

    dtype: what the text was generated for, and rounding errors are measured in.
    """
    run = Runner(compiled, dtype=dtype)
    try:
        run.shared  # noqa: B018  (builds it)
    except Exception as error:
        run.report("ARC0850", "", f"`{compiled.entry}` cannot be built: {_text(error)}", "cannot be built")
        return run.certificate
    run.phases(count)
    run.figures()
    return run.certificate


class Runner:
    """Fills the certificate of a design. remembered: what torch has said, which several designs may share."""

    def __init__(self, compiled: Compiled, remembered: Remembered | None = None, dtype: str = "float32") -> None:
        self.dtype = dtype
        self.program = compiled.program
        self.remembered = remembered or Remembered()
        self.compiled = compiled
        self.certificate = Certificate(compiled.entry, compiled.spec)

    def module(self) -> nn.Module:
        """A new one, on the meta device."""
        with torch.device("meta"), self.remembered:
            module = root_class(module_of(self.compiled))()
        begin(module)
        return module

    @cached_property
    def shared(self) -> nn.Module:
        return self.module()

    @cached_property
    def fake(self) -> Fake:
        return Fake(self.module())

    def report(self, code: str, path: str, message: str, label: str, notes: Iterable[str] = ()) -> None:
        foreign = any(node.op == "extern" for graph in self.program.graphs for node in graph.nodes)
        span, help = span_at(self.program, path), EXTERN if foreign else OWN
        self.certificate.found.append(Diagnostic(code, message, span, label, help=help, notes=tuple(notes)))

    # -- sizes ---------------------------------------------------------------------------------------------------------
    def phases(self, count: int) -> list[Ran]:
        """Runs both phases at a sample of sizes each."""
        domains = [domain(self.program, phase) for phase in PHASES]
        return [self.sizes(of, sample(of, count)) for of in domains]

    def sizes(self, of: Domain, choices: Sequence[dict[str, int]]) -> Ran:
        """Runs a phase at these sizes; one finding for each way in which some of them disagree."""
        ran = Ran(of.phase, set_text(of.space, of.set) if of.space.names else "fixed")
        self.certificate.ran.append(ran)
        wrong: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for sizes in choices:
            got = self.one(of, ran, sizes)
            if got is not None:
                code, path, what = got
                wrong.setdefault((code, path), []).append((shown(sizes), what))
        for (code, path), cases in wrong.items():
            ran.wrong += len(cases)
            self.disagree(code, path, ran, cases)
        return ran

    def one(self, of: Domain, ran: Ran, sizes: dict[str, int]) -> tuple[str, str, str] | None:
        """Runs it at one choice of sizes: code, path and what happened where that is not as predicted."""
        valid = of.contains(sizes)
        error, path, actual = self.run(of.phase, sizes)
        if not valid and lenient(of, sizes, self.program.root):
            ran.lenient += 1
            return None
        if not valid:
            ran.outside += 1
            return ("ARC0852", "", "") if error is None else None
        ran.inside += 1
        if error is not None:
            return "ARC0851", path, error
        predicted = [
            [evaluate(s, sizes) for s in v.type.shape]
            for o in self.program.root.outputs
            if of.phase == "train" or not o.training
            for v in o.values
        ]
        return None if actual == predicted else ("ARC0853", "", f"{_shapes(actual)}, not {_shapes(predicted)}")

    def run(self, phase: str, sizes: Mapping[str, int]) -> tuple[str | None, str, list[list[int]]]:
        """An error's text and where it was raised, or None, "" and the shapes."""
        calls = Calls(self.shared.train(phase == "train"))
        try:
            with warnings.catch_warnings(), torch.no_grad(), calls.follow(), self.remembered:
                warnings.simplefilter("ignore")
                results = flat(self.shared(*random_inputs(self.program, sizes, "meta")))
        except Exception as error:
            return _text(error), calls.path, []
        return None, "", [list(t.shape) for t in results]

    def disagree(self, code: str, path: str, ran: Ran, cases: Sequence[tuple[str, str]]) -> None:
        at, what = cases[0]
        at = f"at {at}" if at else "at its sizes"
        name, phase = self.certificate.name, NAMES[ran.phase]
        more = f"{len(cases) - 1} more of the sizes that were tried do the same" if len(cases) > 1 else ""
        notes = [f"the set in {phase}: {ran.text}", *([more] if more else [])]
        if code == "ARC0851":
            message, label = f"`{name}` does not run {at}, which is in its set of sizes in {phase}", f"raises {what}"
        elif code == "ARC0852":
            message, label = f"`{name}` runs {at}, which is not in its set of sizes in {phase}", "torch refuses nothing"
        else:
            message, label = f"`{name}` gives other shapes than predicted {at} in {phase}", f"gives {what}"
        self.report(code, path, message, label, notes)

    # -- figures -------------------------------------------------------------------------------------------------------
    def figures(self) -> None:
        """Parameters and buffers; operations and saved bytes at a small and at a usual choice of sizes."""
        choices = usual(self.program)
        static = cost(self.program, choices[0] if choices else None, dtype=self.dtype)
        self.certificate.not_counted = static.uncounted
        self.weights(static)
        if choices:
            self.inverses(choices[0])
        for i, sizes in enumerate(() if _foreign(static) else choices):
            try:
                self.operations(static if i == 0 else cost(self.program, sizes, dtype=self.dtype), sizes)
            except Exception as error:  # where it does not run, or an operation has no kernel without data
                self.certificate.not_measured = f"at {shown(sizes)}, {_text(error)}" if sizes else _text(error)
        if choices and not static.uncounted and isinstance(static.macs, int) and static.macs <= RUNS:
            try:
                self.certificate.drift = drift(self.compiled, choices[0], self.dtype)
            except Exception as error:
                self.certificate.not_measured = f"a step of training, {_text(error)}"

    def inverses(self, sizes: Mapping[str, int]) -> None:
        """Tries what extern blocks declare as their inverses."""
        try:
            self.certificate.undone = undone(self.program, sizes)
        except Exception as error:
            self.certificate.not_measured = f"a declared inverse, {_text(error)}"
        for one in self.certificate.undone:
            if not one.error <= ALLOWED:
                target, inverse = one.node.attrs["target"], one.node.attrs["inverse"]
                message = f"`{inverse}` does not undo `{target}`: the inputs come back with a relative error of "
                message += f"{one.error:.1g} in float64"
                label, help = "its declared inverse is not one", EXTERN
                self.certificate.found.append(Diagnostic("ARC0855", message, one.node.span, label, help=help))

    def weights(self, static: Cost) -> None:
        tensors, buffers = list(self.shared.parameters()), list(self.shared.buffers())
        trainable = sum(p.numel() for p in tensors if p.requires_grad)
        counts, at = static.parameters, {"": 0}
        per_path: dict[str, int] = {}
        for name, part in self.shared.named_modules():
            per_path[name] = sum(p.numel() for p in part.parameters())
        self.compare("parameters", {}, counts.parameters, per_path, static, "parameters")
        self.compare("trainable", {}, counts.trainable, {**at, "": trainable}, static)
        self.compare("buffers", {}, counts.buffers, {**at, "": sum(b.numel() for b in buffers)}, static)

    def operations(self, static: Cost, sizes: dict[str, int]) -> None:
        assert isinstance(static.macs, int) and isinstance(static.saved, int)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with self.remembered:
                macs = macs_by_module(self.shared, random_inputs(self.program, sizes, "meta"))
        self.compare("MACs", sizes, static.macs, macs, static, "macs")
        few = static.macs <= RUNS
        saved = {"": 0} if static.uncounted else self.saved(static.saved, few, sizes)
        self.compare("saved for backward", sizes, static.saved, saved, static, "saved", "bytes")

    def saved(self, predicted: int, few: bool, sizes: dict[str, int]) -> dict[str, int]:
        """What torch saves, path by path. Fake tensors now and then have other strides than real ones: where they
        disagree with the prediction, a design of `few` operations is run."""
        found = self.fake.saved_by_module(self.program, sizes)
        if found[""] == predicted or not few or found[""] > HOLDS:
            return found
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            real = root_class(module_of(self.compiled))().train()
            begin(real)
            return saved_by_module(real, self.program, sizes)

    def compare(
        self, name: str, at: Mapping[str, int], predicted: int, measured: Mapping[str, int], static: Cost,
        column: str = "", unit: str = "",
    ) -> None:  # fmt: skip
        """One row. column: the figure's attribute in the cost tree, by which the part that differs is found."""
        known = not (static.uncounted if column == "saved" else _foreign(static))
        self.certificate.figures.append(Figure(name, at, predicted, measured[""] if known else None, unit))
        if not known or predicted == measured[""]:
            return
        path, here, there = deepest(static.tree, measured, column)
        where = f" at {shown(at)}" if at else ""
        message = f"{name} of `{self.certificate.name}`{where}: predicted {predicted:,}, torch says {measured['']:,}"
        label = f"predicted {here:,} here, torch says {there:,}" if path else "in this design"
        self.report("ARC0854", path, message, label)


def _foreign(static: Cost) -> bool:
    """Whether the design has extern blocks, of which nothing is counted."""
    return any(name.startswith("extern ") for name in static.uncounted)


def _shapes(found: Sequence[Any]) -> str:
    return ", ".join(map(str, found)) or "nothing"


def _text(error: Exception) -> str:
    """`RuntimeError: first line`."""
    first = str(error).splitlines()[0][:160] if str(error) else ""
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
