"""Write the pages that follow from the code: tables of ops, methods and errors, and the command-line reference.

python docs/generate.py            write them
python docs/generate.py --check    fail if one is out of date
"""

import inspect
import json
import sys
from pathlib import Path

from onnxprune.cli.reference import reference
from onnxprune.errors import CODES
from onnxprune.importance.method import METHODS
from onnxprune.ops.rules import RULES
from onnxprune.report.methods import needs
from onnxprune.report.schemas import SCHEMAS, published
from onnxprune.values.conditions import MEASURES

HERE = Path(__file__).parent
NOTE = "<!-- Written by docs/generate.py; change the code, not this page. -->\n\n"


def ops_page() -> str:
    """Return the table of op rules."""
    by_file: dict[str, list[str]] = {}
    own = {op: rule for op, rule in RULES.items() if rule.__module__.startswith("onnxprune.")}
    for op, rule in own.items():
        by_file.setdefault(rule.__module__.rsplit(".", 1)[-1], []).append(op)
    lines = [
        "# Ops\n",
        f"{len(own)} ops have a rule; every other op freezes the channels that reach it, and",
        "`onnxprune inspect` says so. What each rule ties is written in its file under `onnxprune/ops/`.\n",
        "| file | ops | in short |",
        "|---|---|---|",
    ]
    for name, ops in sorted(by_file.items()):
        module = sys.modules[f"onnxprune.ops.{name}"]
        first = (inspect.getdoc(module) or "").splitlines()[0]
        lines.append(f"| `{name}.py` | {', '.join(ops)} | {first} |")
    return NOTE + "\n".join(lines) + "\n"


def methods_page() -> str:
    """Return the table of importance methods with their options."""
    head = "| method | in short | score (higher = keep) | needs | cost | source |"
    lines = ["# Methods\n", head, "|---|---|---|---|---|---|"]
    own = [method for method in METHODS.values() if method.score.__module__.startswith("onnxprune.")]
    for m in own:
        required = ", ".join(needs(m)) or "nothing"
        lines.append(f"| `{m.name}` | {m.summary} | `{m.formula}` | {required} | {m.cost} | {m.source} |")
    for method in own:
        if method.options:
            lines += [f"\n## Options of `{method.name}`\n", "| option | default | meaning |", "|---|---|---|"]
            for name, option in method.options.items():
                choices = f" ({', '.join(option.choices)})" if option.choices else ""
                lines.append(f"| `{name}` | `{option.default}` | {option.help}{choices} |")
    return NOTE + "\n".join(lines) + "\n"


def errors_page() -> str:
    """Return the table of error codes."""
    lines = [
        "# Errors\n",
        "Every error has a message for people and a code for programs. The code says what kind of thing is wrong and",
        "stays the same when a message is put in other words. In Python it is the attribute `code` of the exception.",
        "It is said in a sentence on stderr. With `--json` a command that fails puts an object on stdout, and",
        'with `--progress json` the same object, with `"event": "error"`, stands on stderr in place of the sentence:\n',
        "```json",
        '{"error": "No such model: a.onnx.", "code": "missing-file", "exit": 2}',
        "```\n",
        "| code | meaning |",
        "|---|---|",
    ]
    lines += [f"| `{code}` | {meaning} |" for code, meaning in CODES.items()]
    return NOTE + "\n".join(lines) + "\n"


def measures_page() -> str:
    """Return the table of what conditions can ask for."""
    lines = [
        "# Measures\n",
        "What `--fail-if` can ask for; `measures` in the JSON of a result has them. `before` is the original, or",
        "the first of two models, `after` the pruned or the second one. What was not measured is not there.\n",
        "| measure | meaning |",
        "|---|---|",
        *(f"| `{name}` | {meaning} |" for name, meaning in MEASURES.items()),
    ]
    return NOTE + "\n".join(lines) + "\n"


def schema_text(name: str) -> str:
    """Return the JSON schema of a result."""
    return json.dumps(published(name), indent=2) + "\n"


def pages() -> dict[Path, str]:
    """Return every generated page by its place."""
    return {
        HERE / "ops.md": ops_page(),
        HERE / "methods.md": methods_page(),
        HERE / "errors.md": errors_page(),
        HERE / "measures.md": measures_page(),
        **{HERE / "schema" / f"{name}.schema.json": schema_text(name) for name in SCHEMAS},
        HERE / "cli.md": NOTE + reference().rstrip() + "\n",
    }


def main() -> int:
    """Write or check the pages; return the exit status."""
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.name} is out of date: run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(pages()[path], encoding="utf-8")
        print(f"wrote {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
