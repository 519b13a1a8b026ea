"""Prune every model of two folders at ratio 0.5 with random scores, and write what came of it as tables.

    python -m benchmarks.coverage SHARED [--only PATTERN] [--rows FILE.jsonl] [--page FILE.md]

SHARED holds arch/ and zoo/. Architectures in which an inexact result could cut more are pruned with
`--allow approximate` as well. Widths are not rounded. A model is a line of ROWS as soon as it is known, and is not
pruned again.

Weightless models (initializers marked with the doc_string 'random') are filled with seeded random weights first. Every
model runs in a process of its own. The columns: channels that can be pruned, groups, frozen groups and the commonest
reason, MACs and params as original over pruned, the exact bound and the bound, the cut-equals-mask error, seconds of
CPU time of analysis + plan + cut with shape inference and checker (no onnxruntime session). The bound is the MACs ratio
with every width halved that is not one of an input or output. The exact bound leaves out what only an inexact result
could cut, and factors of an axis along which nothing goes since it is cut along others.

Status: ok (cut equals mask, proven), unproven (no tensor could tell), frozen (nothing to prune), exact (nothing that
only an inexact result could cut), refused (one clear sentence), error.
"""

import argparse
import fnmatch
import math
import multiprocessing
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
import onnx

from benchmarks.rows import Row, Rows, survey
from benchmarks.stamp import stamp
from benchmarks.tables import table
from onnxprune.analysis.analyse import analyse
from onnxprune.analysis.analysis import Analysis
from onnxprune.errors import OnnxPruneError
from onnxprune.graph.checking import check_structure
from onnxprune.graph.inlining import inlined
from onnxprune.graph.loaded import Model
from onnxprune.graph.model import read_graph
from onnxprune.graph.storage.measures import count_params
from onnxprune.pipeline.execution.cut import apply, verify
from onnxprune.pipeline.planning.plans import plan
from onnxprune.pipeline.planning.scoring import score
from onnxprune.selection.budget import Budget
from onnxprune.values.statistics import Statistics

TIMEOUT = 600
GOOD = ("ok", "unproven", "frozen", "exact")
KEY = ("folder", "allow", "name")


def fill(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give emptied initializers seeded random weights of variance 2 / fan-in; others stay."""
    for tensor in model.graph.initializer:
        if tensor.doc_string != "random":
            continue
        rng = np.random.default_rng(zlib.crc32(tensor.name.encode()))
        dims = tuple(tensor.dims)
        fan_in = math.prod(dims[1:]) if len(dims) > 2 else dims[0]
        weights = rng.standard_normal(dims, dtype=np.float32) * np.sqrt(2 / max(fan_in, 1))
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        tensor.raw_data = weights.astype(dtype).tobytes()
        tensor.doc_string = ""
    return model


def prune_one(path: Path, round_to: int, *, approximate: bool = False) -> dict[str, Any]:
    """Prune one model and return its row."""
    row: dict[str, Any] = {"name": path.name, "status": "error"}
    try:
        proto = inlined(fill(onnx.load(path)))[0]
        start = time.process_time()
        model = Model(path, proto, read_graph(proto))
        analysis = analyse(model.graph, approximate=approximate)
        row.update(_counts(analysis))
        if approximate and not any(group.approximate for group in analysis.groups):
            return {**row, "status": "exact"}
        if not analysis.prunable:
            return {**row, "status": "frozen", "seconds": round(time.process_time() - start, 2)}
        nothing = Statistics({}, np.zeros(0, dtype=np.int64), labelled=False)
        scores = score(analysis, nothing, "random")
        chosen = plan(model, analysis, scores, Budget(ratio=0.5), "random", round_to=round_to)
        cut, chosen = apply(model, analysis, chosen)
        check_structure(cut.model, proto)
        row["seconds"] = round(time.process_time() - start, 2)
        row["macs_ratio"] = round(analysis.macs() / analysis.macs(chosen.keep()), 4) if analysis.macs() else 1.0
        row["params_ratio"] = round(count_params(proto) / count_params(cut.model), 4)
        row["names_kept"] = _interface(proto) == _interface(cut.model)
        equality = verify(model, analysis, cut, None)
        row.update(error=equality.error, tolerance=equality.tolerance, where=equality.where)
        row["status"] = "ok" if equality.status == "equal" else equality.status
    except OnnxPruneError as error:
        row.update(status="refused", message=str(error))
    except Exception as error:  # a benchmark has to report a crash, not to die of it
        row.update(status="error", message=f"{type(error).__name__}: {error}"[:300])
    return row


def _counts(analysis: Analysis) -> dict[str, Any]:
    frozen = [group for group in analysis.groups if group.frozen]
    reasons = Counter(group.frozen.split(" ", 1)[-1] for group in frozen if group.frozen)
    return {
        "channels": sum(group.size for group in analysis.prunable),
        "groups": len(analysis.prunable),
        "approximate": sum(group.approximate for group in frozen),
        "frozen": len(frozen),
        "bound": round(_bound(analysis), 4),
        "exact_bound": round(_bound(analysis, exact=True), 4),
        "main_reason": next(iter([*(reason for reason, _ in reasons.most_common(1)), *analysis.unread]), ""),
        "group_sizes": sorted(group.size for group in analysis.prunable),
    }


def _bound(analysis: Analysis, *, exact: bool = False) -> float:
    """Return the MACs ratio with every group halved but those of graph inputs and outputs.

    With `exact`, those stay as well that only an inexact result could cut, and other factors of an axis that is cut.
    """
    ends = ("part of the graph input", "part of the graph output", *(["another factor"] if exact else []))
    halved = {
        group.name: max(1, group.size // 2)
        for group in analysis.groups
        if not (group.frozen and ((exact and group.approximate) or any(end in group.frozen for end in ends)))
    }
    left = analysis.costs.macs_at(halved)
    return analysis.macs() / left if left else 1.0


def _interface(model: onnx.ModelProto) -> tuple[Any, ...]:
    stored = {tensor.name for tensor in model.graph.initializer}  # older files have weights among the inputs
    values = (*(value for value in model.graph.input if value.name not in stored), *model.graph.output)
    return (
        [value.SerializeToString() for value in values],
        [(entry.domain, entry.version) for entry in model.opset_import],
        model.ir_version,
        model.graph.name,
    )


def _job(path: Path, queue: "multiprocessing.Queue[dict[str, Any]]", *, approximate: bool) -> None:
    queue.put(prune_one(path, 1, approximate=approximate))


def _run(path: Path, *, approximate: bool) -> dict[str, Any]:
    """Run `prune_one` in a process of its own, so that a hang or a crash costs one row."""
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[dict[str, Any]] = context.Queue()
    process = context.Process(target=_job, args=(path, queue), kwargs={"approximate": approximate})
    process.start()
    deadline = time.monotonic() + TIMEOUT
    try:
        while process.is_alive() or not queue.empty():
            try:
                return queue.get(timeout=1.0)
            except Empty:
                if time.monotonic() > deadline:
                    return {"name": path.name, "status": "error", "message": f"took more than {TIMEOUT} s"}
        return {"name": path.name, "status": "error", "message": f"died with exit code {process.exitcode}"}
    finally:
        process.kill()
        process.join()


def cells(shared: Path, pattern: str) -> Iterator[tuple[Row, Path]]:
    """Yield what identifies each row, and the file."""
    for folder, allow in (("arch", "exact"), ("arch", "approximate"), ("zoo", "exact")):
        for path in sorted(shared.joinpath(folder).glob("*.onnx")):
            if fnmatch.fnmatch(path.name, pattern):
                yield {"folder": folder, "allow": allow, "name": path.name}, path


def attempt(cell: Row, path: Path) -> Row:
    """Prune one model in a process of its own, and say what was wrong."""
    row = {**cell, **_run(path, approximate=cell["allow"] == "approximate")}
    kept = row.pop("names_kept", True)
    faults = [] if row["status"] in GOOD else [row["status"]]
    return {**row, "faults": faults + ([] if kept else ["interface changed"])}


def page(rows: Sequence[Row]) -> str:
    """Return the page of all rows."""
    exact, approximate, zoo = (
        [row for row in rows if (row["folder"], row["allow"]) == kind]
        for kind in (("arch", "exact"), ("arch", "approximate"), ("zoo", "exact"))
    )
    opened = [row for row in approximate if row["status"] != "exact"]
    parts = [
        "# Coverage: real graphs at ratio 0.5",
        "",
        f"Written by `python -m benchmarks.coverage`: {len(exact)} public architectures with random weights",
        "(torchvision and timm; `ts17` is the TorchScript exporter at opset 17, `dyn18` the dynamo exporter at",
        f"opset 18) and {len(zoo)} trained models found in public repositories. Random scores, widths not rounded.",
        "MACs and params are original over pruned; *bound* is the MACs ratio with every width halved that is not",
        "one of an input or output; *exact bound* leaves out what only an inexact result could cut, and factors of an",
        "axis along which nothing goes since it is cut along others; *error* is cut equals mask,",
        "relative; *seconds* is the CPU time of analysis + plan + cut with checker and shape inference.",
        f"{stamp()}.",
        "",
        "## Architectures, exact groups only",
        "",
        _table(exact),
        "",
        "## Those with groups that normalisations hold, `--allow approximate`",
        "",
        _table(opened),
        "",
        "## Trained models",
        "",
        _table(zoo),
    ]
    return "\n".join(parts)


def _table(rows: Sequence[Row]) -> str:
    head = ("model", "status", "channels", "groups", "frozen", "MACs", "exact bound", "bound", "params", "error")
    ratios = ("macs_ratio", "exact_bound", "bound", "params_ratio")
    lines = [
        (
            row["name"],
            row["status"],
            *(str(row.get(key, "")) for key in ("channels", "groups", "frozen")),
            *(f"{row[key]:.2f}" if key in row else "" for key in ratios),
            f"{row['error']:.1e}" if "error" in row else "",
            f"{row['seconds']:.2f}" if "seconds" in row else "",
            str(row.get("message", row.get("main_reason", ""))).replace("|", "/")[:120],
        )
        for row in rows
    ]
    return table((*head, "seconds", "main reason"), lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--only", default="*", help="shell pattern of file names")
    parser.add_argument("--rows", type=Path, default=Path("coverage.jsonl"))
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    known, todo = Rows(options.rows, KEY), list(cells(options.shared, options.only))
    paths = {known.key(cell): path for cell, path in todo}
    rows = survey(known, (cell for cell, _ in todo), lambda cell: attempt(cell, paths[known.key(cell)]))
    text = page(rows)
    print(text)
    if options.page is not None:
        options.page.write_text(text + "\n", encoding="utf-8")
    return int(any(row["faults"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
