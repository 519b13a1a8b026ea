"""Give broken models and broken data to the command line, each in a process of its own, and count how it ends.

    python benchmarks/corrupted.py [--models 10000] [--data 5000] [--seed 0] [--only KIND:NUMBER] [--rows FILE.jsonl]
                                   [--page FILE.md]

Faults are those of tests/corruptions.py. A run has to end with a documented exit code other than 70 and with one
sentence, within 10 seconds of CPU time and 2 GB, with nothing written unless it ended well, and its input untouched.
Case N of seed S depends on S and N alone; what went wrong is kept in the rows, one for each case, and a run goes on
where an earlier one stopped. Exit code 1 if anything did.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / folder) for folder in ("", "tests")]

import numpy as np  # noqa: E402
from corruptions import corrupt_arrays, corrupt_model  # noqa: E402
from PIL import Image  # noqa: E402
from random_nets import draw_net  # noqa: E402

from benchmarks.forked import forked, import_as  # noqa: E402
from benchmarks.rows import Row, Rows, survey  # noqa: E402
from benchmarks.stamp import stamp  # noqa: E402
from benchmarks.tables import table  # noqa: E402

SAMPLES = Path(__file__).resolve().parents[1] / "sample_models"
KEY = ("what", "number", "seed")
SECONDS, BYTES = 10.0, 2 << 30
DOCUMENTED = frozenset((0, 1, 2, 3))
IMAGES = 40
WAY = ("--macs", "60%", "--threads", "1", "--method")


def case(what: str, number: int, seed: int, folder: Path) -> tuple[str, list[str]]:
    """Write the files of a case; return the kind of its fault, and the arguments."""
    rng = Random(f"{seed}:{what}:{number}")
    model, data = folder / "model.onnx", folder / "data.npz"
    arrays = _samples()
    if what == "model":
        whole = draw_net(rng).SerializeToString() if rng.random() < 0.5 else _sample_model(rng)
        kind, broken = corrupt_model(rng, whole)
        model.write_bytes(broken)
        return kind, [str(model), *WAY, "l1"]
    model.write_bytes(_sample_model(rng))
    kind, broken = corrupt_arrays(rng, arrays)
    data.write_bytes(broken)
    return kind, [str(model), "--data", str(data), *WAY, "entropy"]


def _sample_model(rng: Random) -> bytes:
    return (SAMPLES / f"{rng.choice(('digits_convnet', 'digits_resnet'))}.onnx").read_bytes()


def _samples() -> dict[str, Any]:
    files = sorted((SAMPLES / "calib").glob("*/*.png"))[:: 300 // IMAGES]
    pixels = np.stack([np.asarray(Image.open(file), dtype=np.float32)[None] / 255 for file in files])
    return {"x": pixels, "y": np.array([int(file.parent.name) for file in files])}


def run(what: str, number: int, seed: int) -> Row:
    """Run one case in a process of its own, and say how it ended."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kind, arguments = case(what, number, seed, folder)
        before = {path: path.read_bytes() for path in folder.iterdir()}
        said = folder / "said"
        ended = forked([*arguments, "-o", str(folder / "out.onnx")], said, 4 * SECONDS)
        untouched = all(path.read_bytes() == content for path, content in before.items())
        left = sorted(path.name for path in folder.iterdir() if path not in before and path != said)
    code, text, errors = ended.code, ended.said, ended.errors
    faults = [
        *(["exit"] if code not in DOCUMENTED else []),
        *(["sentence"] if code and len(errors) != 1 else []),
        *(["traceback"] if "Traceback (most recent" in text else []),
        *(["seconds"] if ended.seconds > SECONDS else []),
        *(["memory"] if ended.size > BYTES else []),
        *(["touched"] if not untouched else []),
        *(["left behind"] if code and left else []),
    ]
    row = {"what": what, "number": number, "seed": seed, "kind": kind, "exit": code, "faults": faults}
    return {**row, "said": (errors or text.splitlines()[-1:] or [""])[0][:300]} if faults else row


def page(rows: list[Row]) -> str:
    """Return the page of all rows."""
    models, data = (sum(row["what"] == what for row in rows) for what in ("model", "data"))
    wrong = sum(bool(row["faults"]) for row in rows)
    return "\n".join(
        [
            "# Broken models and broken data",
            "",
            "Written by `python benchmarks/corrupted.py`: files with faults that know what they break, each given",
            "to the command line in a process of its own. Right is a documented exit code other than 70 and one",
            "sentence, within 10 seconds of CPU time and 2 GB, with the input as it was and nothing written unless it",
            "ended well.",
            f"{stamp()}.",
            "",
            f"{models:,} models and {data:,} archives, {wrong:,} of them handled wrongly.",
            "",
            kinds(rows),
        ]
    )


def kinds(rows: list[Row]) -> str:
    """Return a table of kinds: how many cases, how they ended, and what was wrong with them."""
    lines = []
    for what, kind in dict.fromkeys((row["what"], row["kind"]) for row in rows):
        same = [row for row in rows if (row["what"], row["kind"]) == (what, kind)]
        ends = Counter(row["exit"] for row in same)
        faults = Counter(fault for row in same for fault in row["faults"])
        lines.append((what, kind, str(len(same)), _counted(ends), _counted(faults) or "none"))
    return table(("broken", "kind", "cases", "exit codes", "faults"), sorted(lines))


def _counted(found: Counter[Any]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in sorted(found.items(), key=str))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--data", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="draw this one case again, as model:12 or data:7")
    parser.add_argument("--rows", type=Path, default=Path("corrupted.jsonl"))
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = [str(SAMPLES / "digits_convnet.onnx"), "--data", str(SAMPLES / "calib"), *WAY, "entropy"]
        import_as([*whole, "-o", str(folder / "out.onnx")], folder / "said", 4 * SECONDS)
    if options.only:
        what, _, number = options.only.partition(":")
        print(json.dumps(run(what, int(number), options.seed), indent=1))
        return 0
    counts = {"model": options.models, "data": options.data}
    cells = (
        {"what": what, "number": number, "seed": options.seed}
        for what, count in counts.items()
        for number in range(count)
    )
    rows = survey(Rows(options.rows, KEY), cells, lambda cell: run(**cell))
    print(kinds(rows))
    if options.page is not None:
        options.page.write_text(page(rows), encoding="utf-8")
    return int(any(row["faults"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
