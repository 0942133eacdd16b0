"""The register of diagnostic codes: one line each. Codes are stable; a retired code is never reused.

ARC00xx reading and syntax      ARC01xx names, files, `use`       ARC02xx values, arguments, types
ARC03xx sizes and shapes        ARC04xx instances, labels, paths  ARC05xx bounds of elaboration
ARC06xx reversible blocks       ARC07xx code generation           ARC08xx claims
ARC09xx command line and files
"""

from __future__ import annotations

__all__ = ["CODES"]

CODES: dict[str, str] = {}
