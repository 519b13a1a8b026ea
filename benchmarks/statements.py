"""How many statements the package has, room by room, on the syntax tree; docstrings do not count.

    python benchmarks/statements.py [FOLDER]

The last line is the sum of everything outside the engine: ops, analysis, surgery and graph.
"""

import argparse
import ast
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "onnxprune"
ENGINE = ("ops", "analysis", "surgery", "graph")
TOP = "(top)"
"""The room of the files that lie in none."""


def count(source: str) -> int:
    """Return the number of statements, those within others too. A string that stands alone is a docstring."""
    return sum(isinstance(node, ast.stmt) and not _is_docstring(node) for node in ast.walk(ast.parse(source)))


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def by_room(package: Path) -> dict[str, int]:
    """Return the statements of every folder directly under the package, by its name."""
    found: Counter[str] = Counter()
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).parts
        found[parts[0] if len(parts) > 1 else TOP] += count(path.read_text())
    return dict(sorted(found.items()))


def outside_engine(rooms: Mapping[str, int]) -> int:
    """Return the sum over the rooms that are not the engine's."""
    return sum(number for room, number in rooms.items() if room not in ENGINE)


def main(arguments: Sequence[str] | None = None) -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", nargs="?", type=Path, default=PACKAGE)
    rooms = by_room(parser.parse_args(arguments).package)
    for room, number in rooms.items():
        print(f"{room:20}{number:7}")
    print(f"{'all':20}{sum(rooms.values()):7}\n{'outside the engine':20}{outside_engine(rooms):7}")


if __name__ == "__main__":
    main()
