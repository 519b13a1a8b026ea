"""Change one thing in the code at a time, and see whether the tests notice.

    pip install ".[dev]" cosmic-ray
    python -m benchmarks.mutants --work FOLDER [--count 200] [--seed 0] [--rows FILE.jsonl] [--page FILE.md]

Drawn from all changes that cosmic-ray makes to the packages of `PACKAGES`: other operators, numbers, comparisons and
conditions, loops that never run, decorators that are gone. Strings and annotations stay. First a place is drawn, then
one of its changes. It is made in a copy of the project in FOLDER, and the tests that reach the line run there until
one fails, the short ones first. Which reach it is measured once, with coverage.py. Rows are kept, and a run goes on
where an earlier one stopped.

A change that no test can notice, as it computes the same, is listed with the reason in `mutants_argued.json`, by its
place and what stands there. Exit code 1 where any other survived.
"""

import argparse
import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import parso.python.tree  # noqa: F401 (cosmic_ray reads parso in an order that fails otherwise)
from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names
from coverage import CoverageData

from benchmarks.rows import Row, Rows, survey
from benchmarks.stamp import stamp
from benchmarks.tables import table

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ops", "analysis", "surgery", "verification", "recovery")
COPIED = ("onnxprune", "tests", "sample_models", "benchmarks", "docs", "pyproject.toml", "README.md", "Makefile")
ARGUED = Path(__file__).with_name("mutants_argued.json")
KEY = ("file", "operator", "occurrence", "code")
NOTICED = (1, 2)
"""Exit codes of pytest: tests failed, or could not be read."""

PATIENCE = 60.0
SECONDS, ENDED = 3.0, 900.0
"""A test may take so many times what it took, and all of a change so long."""


@dataclass(frozen=True)
class Reach:
    """Which tests reach a line, and how long each takes in seconds."""

    lines: dict[str, dict[int, list[str]]]
    seconds: dict[str, float]

    def tests(self, file: str, line: int) -> list[str]:
        """Return the tests of a line, the short ones first; of one that is run as it is imported, those of its file."""
        lines = self.lines.get(file, {})
        found = {name for name in lines.get(line, ()) if name}
        return sorted(found or {name for names in lines.values() for name in names if name}, key=self._length)

    def _length(self, test: str) -> tuple[float, str]:
        return self.seconds.get(test, 0.0), test


def drawn(count: int, seed: int) -> list[Row]:
    """Return changes at `count` places."""
    places: dict[tuple[str, int, int], list[Row]] = {}
    for change in changes():
        places.setdefault((change["file"], change["line"], change["column"]), []).append(change)
    random = Random(seed)
    return [random.choice(places[place]) for place in random.sample(sorted(places), min(count, len(places)))]


def changes() -> Iterator[Row]:
    """Yield all changes: file, operator, which of its occurrences, and where."""
    for package in PACKAGES:
        for path in sorted((ROOT / "onnxprune" / package).rglob("*.py")):
            annotated = set(_annotated(path))
            nodes = list(ast_nodes(get_ast_from_path(path)))
            for name in sorted(operator_names()):
                if get_operator(name).arguments():
                    continue
                places = [place for node in nodes for place, _ in get_operator(name)().mutation_positions(node)]
                for occurrence, place in enumerate(places):
                    if place not in annotated:
                        file = str(path.relative_to(ROOT))
                        where = {"file": file, "line": place[0], "column": place[1]}
                        yield {**where, "operator": name, "occurrence": occurrence}


def _annotated(path: Path) -> Iterator[tuple[int, int]]:
    """Yield the places, as line and column, within annotations."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(part, ast.expr):
                for line in range(part.lineno, (part.end_lineno or part.lineno) + 1):
                    first = part.col_offset if line == part.lineno else 0
                    last = part.end_col_offset if line == part.end_lineno else len(lines[line - 1])
                    yield from ((line, column) for column in range(first, last or 0))


def copied(work: Path) -> Path:
    """Return a copy of the project in which things can be changed."""
    tree = work / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tree / name)
    return tree


def _pytest(tree: Path, arguments: Sequence[str], patience: float | None = None) -> int:
    """Run tests of a copy, and return the exit code; 1 where they take too long."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", *arguments]
    about = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, cwd=tree, env=about, timeout=patience, capture_output=True, check=False)
    except subprocess.TimeoutExpired:
        return 1
    return done.returncode


def version(tree: Path) -> str:
    """Return a digest of the code and of the tests."""
    files = sorted(file for folder in ("onnxprune", "tests") for file in (tree / folder).rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def reach(tree: Path, work: Path) -> Reach:
    """Run all tests once where that was not done yet, and return what they reach."""
    data, report = work / f"{version(tree)}.coverage", work / f"{version(tree)}.xml"
    if not (data.exists() and report.exists()):
        sources = [f"--cov=onnxprune.{package}" for package in PACKAGES]
        code = _pytest(
            tree, ["-n", "2", *sources, "--cov-context=test", "--cov-report=", f"--junitxml={report}", "tests"]
        )
        if code:
            report.unlink(missing_ok=True)
            sys.exit(f"The tests end with {code} where nothing is changed, so they cannot tell.")
        shutil.move(tree / ".coverage", data)
    found = CoverageData(str(data))
    found.read()
    lines: dict[str, dict[int, list[str]]] = {}
    for file in found.measured_files():
        contexts = found.contexts_by_lineno(file)
        name = Path(file).relative_to(tree).as_posix()
        lines[name] = {line: [context.partition("|")[0] for context in names] for line, names in contexts.items()}
    seconds = {}
    for case in ET.parse(report).iter("testcase"):
        folder = case.get("classname", "").replace(".", "/")
        seconds[f"{folder}.py::{case.get('name')}"] = float(case.get("time", 0))
    return Reach(lines, seconds)


def attempt(tree: Path, known: Reach, cell: Row) -> Row:
    """Make one change, run the tests that reach it, and say what came of it."""
    file = tree / cell["file"]
    before = file.read_text(encoding="utf-8")
    after = mutate_code(before, get_operator(cell["operator"])(), cell["occurrence"])
    old, new = _difference(before, after)
    tests = known.tests(cell["file"], cell["line"])
    row = {**cell, "old": old, "new": new, "tests": len(tests)}
    if not tests:
        return {**row, "end": "not reached", "faults": ["not reached"]}
    listed = tree / "tests.txt"
    listed.write_text("\n".join(tests), encoding="utf-8")
    patience = min(ENDED, PATIENCE + SECONDS * sum(known.seconds.get(test, 1.0) for test in tests))
    try:
        file.write_text(after, encoding="utf-8")
        code = _pytest(tree, ["-x", f"@{listed}"], patience)
    finally:
        file.write_text(before, encoding="utf-8")
    if code in NOTICED:
        return {**row, "end": "killed", "faults": []}
    if code:
        sys.exit(f"pytest ends with {code} for {cell}, so the tests were not run.")
    return {**row, "end": "survived", "faults": ["survived"]}


def _difference(before: str, after: str) -> tuple[str, str]:
    """Return the first line that differs, before and after."""
    pairs = zip(before.splitlines(), after.splitlines(), strict=False)
    return next(((old.strip(), new.strip()) for old, new in pairs if old != new), ("", ""))


def argued() -> dict[tuple[str, str, str], str]:
    """Return why changes compute the same, by file, what stands there, and what would stand there."""
    if not ARGUED.exists():
        return {}
    entries: list[dict[str, str]] = json.loads(ARGUED.read_text(encoding="utf-8"))
    return {(entry["file"], entry["old"], entry["new"]): entry["reason"] for entry in entries}


def reason(row: Row) -> str | None:
    """Return why a change computes the same, where that was argued."""
    return argued().get((row["file"], row["old"], row["new"]))


def page(rows: Sequence[Row]) -> str:
    """Return the page of all rows."""
    ends = Counter("equivalent" if row["faults"] and reason(row) else row["end"] for row in rows)
    real = len(rows) - ends["equivalent"]
    lines = [
        (f"`{row['file']}:{row['line']}`", f"`{row['old']}`", f"`{row['new']}`", reason(row) or row["end"])
        for row in rows
        if row["faults"]
    ]
    return "\n".join(
        [
            "# Do the tests notice?",
            "",
            "Written by `python -m benchmarks.mutants`: one thing is changed in the code at a time, and the tests that",
            f"reach the line run. Drawn from all changes of {', '.join(f'`{name}`' for name in PACKAGES)}; strings and",
            f"annotations stay. {stamp()}.",
            "",
            f"{ends['killed']} of {real} changes were noticed ({ends['killed'] / max(1, real):.0%}); "
            f"{ends['equivalent']} more compute the same.",
            "",
            table(("place", "before", "after", "why it was not noticed"), lines),
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    work = options.work.resolve()
    tree = copied(work)
    known = reach(tree, work)
    cells = [{**cell, "code": version(tree)} for cell in drawn(options.count, options.seed)]
    rows = survey(Rows(options.rows or work / "mutants.jsonl", KEY), cells, lambda cell: attempt(tree, known, cell))
    text = page(rows)
    print(text)
    if options.page is not None:
        options.page.write_text(text + "\n", encoding="utf-8")
    return int(any(row["faults"] and reason(row) is None for row in rows))


if __name__ == "__main__":
    sys.exit(main())
