"""Tables: each column begins or ends at one place, and no line ends in blanks."""

from archlang.report.table import table


def test_columns() -> None:
    rows = [["part", "", "bytes"], ["stem", "kept", "7"], ["a", "undone", "1,024"]]
    assert table(rows, left=(0, 1), indent="  ") == [
        "  part          bytes",
        "  stem  kept        7",
        "  a     undone  1,024",
    ]
    assert table([["", "rank", ""], ["w", "3", "long"]], left=(0, 2)) == ["   rank", "w     3  long"]
