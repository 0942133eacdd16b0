"""Checks of elaborated programs: which input sizes they take, exactly. Nothing here imports torch."""

__all__: list[str] = []
