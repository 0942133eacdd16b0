"""The register of diagnostic codes: one line each. Codes are stable; a retired code is never reused.

ARC00xx reading and syntax      ARC01xx names, files, `use`       ARC02xx values, arguments, types
ARC03xx sizes and shapes        ARC04xx instances, labels, paths  ARC05xx bounds of elaboration
ARC06xx reversible blocks       ARC07xx code generation           ARC08xx claims
ARC09xx command line and files
"""

from __future__ import annotations

__all__ = ["CODES"]

CODES: dict[str, str] = {
    "ARC0240": "wrong number of operands",
    "ARC0241": "element type that the op does not take",
    "ARC0242": "value of an argument out of range",
    "ARC0301": "sizes that must be equal differ",
    "ARC0302": "size below a lower bound",
    "ARC0303": "division of a size by zero",
    "ARC0304": "size not divisible",
    "ARC0305": "symbolic size where a number is needed",
    "ARC0350": "sizes do not broadcast",
    "ARC0351": "dimension out of range",
    "ARC0352": "dimensions given twice or left out",
    "ARC0353": "number of dimensions differs",
    "ARC0354": "not a size",
    "ARC0355": "number of elements changes",
    "ARC0356": "sizes beside the joined dimension differ",
}
