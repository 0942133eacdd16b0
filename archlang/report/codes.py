"""The register of diagnostic codes: one line each. Codes are stable; a retired code is never reused.

ARC00xx reading and syntax      ARC01xx names, files, `use`       ARC02xx values, arguments, types
ARC03xx sizes and shapes        ARC04xx instances, labels, paths  ARC05xx bounds of elaboration
ARC06xx reversible blocks       ARC07xx code generation           ARC08xx claims
ARC09xx command line and files
"""

from __future__ import annotations

__all__ = ["CODES"]

CODES: dict[str, str] = {
    "ARC0220": "number out of range in a layer's argument",
    "ARC0221": "layer argument of the wrong form",
    "ARC0222": "layer arguments that contradict each other",
    "ARC0240": "wrong number of operands",
    "ARC0241": "element type that the op does not take",
    "ARC0242": "value of an argument out of range",
    "ARC0243": "not an element type",
    "ARC0244": "`like` has another element type",
    "ARC0250": "unknown initialiser",
    "ARC0251": "wrong arguments of an initialiser",
    "ARC0252": "value that an initialiser does not take",
    "ARC0253": "initialiser for another number of dimensions",
    "ARC0254": "initialiser of another size",
    "ARC0301": "sizes that must be equal differ",
    "ARC0302": "size below a lower bound",
    "ARC0303": "division of a size by zero",
    "ARC0304": "size not divisible",
    "ARC0305": "symbolic size where a number is needed",
    "ARC0310": "input of a rank that the layer does not take",
    "ARC0311": "wrong number of entries for the spatial dimensions",
    "ARC0350": "sizes do not broadcast",
    "ARC0351": "dimension out of range",
    "ARC0352": "dimensions given twice or left out",
    "ARC0353": "number of dimensions differs",
    "ARC0354": "not a size",
    "ARC0355": "number of elements changes",
    "ARC0356": "sizes beside the joined dimension differ",
    "ARC0901": "wrong command line",
    "ARC0902": "missing file or folder",
    "ARC0903": "a folder where a file is needed",
    "ARC0904": "permission denied",
    "ARC0905": "file that cannot be read or written",
    "ARC0906": "setting not of the form name=value",
    "ARC0907": "unknown block on the command line",
    "ARC0908": "unknown parameter on the command line",
    "ARC0909": "nothing to check",
    "ARC0910": "output would overwrite the spec",
    "ARC0920": "torch is not installed",
    "ARC0921": "no input sizes that fit",
    "ARC0922": "input size that does not fit",
    "ARC0923": "network that fails when run",
    "ARC0930": "checkpoint that cannot be read",
    "ARC0931": "keys that the checkpoint lacks",
    "ARC0932": "keys that the spec does not make",
    "ARC0933": "keys whose shapes differ",
    "ARC0990": "interrupted",
    "ARC0991": "nested too deeply",
    "ARC0992": "out of memory",
    "ARC0999": "internal error",
}
