"""Prune every model of a folder at ratio 0.5 with random scores, and write what came of it as a table.

    python benchmarks/coverage.py FOLDER [--json OUT.json] [--markdown OUT.md] [--only PATTERN] [--round-to 1]
                                         [--allow approximate]

Weightless models (initializers marked with the doc_string 'random') are filled with seeded random weights first. Every
model runs in a process of its own. The columns: channels that can be pruned, groups, frozen groups and the commonest
reason, MACs and params as original over pruned, the exact bound and the bound, the cut-equals-mask error, seconds of
analysis + plan + cut with shape inference and checker (no onnxruntime session), and whether names, opset and interface
stayed. The bound is the MACs ratio with every width halved that is not one of an input or output. The exact bound
leaves out what only an inexact result could cut, and takes one factor alone of an axis that has several, as heads and
the channels in each.

Status: ok (cut equals mask, proven), unproven (no tensor could tell), frozen (nothing to prune), refused (one clear
sentence), error.
"""

import argparse
import fnmatch
import json
import math
import multiprocessing
import sys
import time
import zlib
from collections import Counter
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
import onnx

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
        start = time.perf_counter()
        model = Model(path, proto, read_graph(proto))
        analysis = analyse(model.graph, approximate=approximate)
        row.update(_counts(analysis))
        if not analysis.prunable:
            return {**row, "status": "frozen", "seconds": round(time.perf_counter() - start, 2)}
        nothing = Statistics({}, np.zeros(0, dtype=np.int64), labelled=False)
        scores = score(analysis, nothing, "random")
        chosen = plan(model, analysis, scores, Budget(ratio=0.5), "random", round_to=round_to)
        cut, chosen = apply(model, analysis, chosen)
        check_structure(cut.model, proto)
        row["seconds"] = round(time.perf_counter() - start, 2)
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
    values = (*model.graph.input, *model.graph.output)
    return (
        [value.SerializeToString() for value in values],
        [(entry.domain, entry.version) for entry in model.opset_import],
        model.ir_version,
        model.graph.name,
    )


def _job(path: Path, round_to: int, queue: "multiprocessing.Queue[dict[str, Any]]", *, approximate: bool) -> None:
    queue.put(prune_one(path, round_to, approximate=approximate))


def _run(path: Path, round_to: int, *, approximate: bool) -> dict[str, Any]:
    """Run `prune_one` in a process of its own, so that a hang or a crash costs one row."""
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[dict[str, Any]] = context.Queue()
    process = context.Process(target=_job, args=(path, round_to, queue), kwargs={"approximate": approximate})
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


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table as Markdown."""
    head = [
        "model",
        "status",
        "channels",
        "groups",
        "frozen",
        "MACs",
        "exact bound",
        "bound",
        "params",
        "error",
        "seconds",
        "main reason",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [
            row["name"],
            row["status"],
            *(str(row.get(key, "")) for key in ("channels", "groups", "frozen")),
            *(
                f"{row[key]:.2f}" if key in row else ""
                for key in ("macs_ratio", "exact_bound", "bound", "params_ratio")
            ),
            f"{row['error']:.1e}" if "error" in row else "",
            f"{row['seconds']:.2f}" if "seconds" in row else "",
            str(row.get("message", row.get("main_reason", ""))).replace("|", "/")[:120],
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--only", default="*", help="shell pattern of file names")
    parser.add_argument("--round-to", type=int, default=1)
    parser.add_argument("--allow", choices=["exact", "approximate"], default="exact")
    options = parser.parse_args()
    paths = sorted(path for path in options.folder.glob("*.onnx") if fnmatch.fnmatch(path.name, options.only))
    rows = []
    for path in paths:
        rows.append(_run(path, options.round_to, approximate=options.allow == "approximate"))
        print(markdown(rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(markdown(rows))
    print(markdown(rows))


if __name__ == "__main__":
    main()
