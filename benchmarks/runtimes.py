"""Do other runtimes run what was cut, and agree with onnxruntime as they do on the original?

    python -m benchmarks.runtimes FOLDER [--ratio 0.3] [--page FILE.md]

For the .onnx files of FOLDER (unpacked packages, see `benchmarks.packages`): the original and a cut by random scores,
without recovery, on one random input, in OpenVINO and in ncnn (`pip install openvino ncnn pnnx`; what is not installed
is left out). The figures are the largest difference from what onnxruntime computes, as a share of its largest output;
a dash: the runtime, or its converter, does not take the file.
"""

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from benchmarks.packages import inputs, run
from benchmarks.tables import table
from onnxprune import load, prune
from onnxprune.errors import OnnxPruneError

Array = NDArray[Any]
TIMEOUT = 120


def in_openvino(path: Path, feed: Mapping[str, Array]) -> list[Array]:
    """Return the outputs of OpenVINO."""
    import openvino

    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled(dict(feed))
    return [np.asarray(found[output]) for output in compiled.outputs]


def in_ncnn(path: Path, feed: Mapping[str, Array]) -> list[Array]:
    """Return the outputs of ncnn, from what pnnx makes of the file.

    Raises:
        ValueError: pnnx makes nothing of it.
    """
    import ncnn

    if len(feed) != 1:
        raise ValueError("several inputs")
    value = next(iter(feed.values()))
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "net.onnx"
        copy.write_bytes(path.read_bytes())
        shape = f"inputshape=[{','.join(map(str, value.shape))}]f32"
        converter = Path(sys.executable).with_name("pnnx")
        subprocess.run([converter, copy, shape, "fp16=0"], cwd=folder, timeout=TIMEOUT, check=True, capture_output=True)
        net = ncnn.Net()
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
        if net.load_param(f"{folder}/net.ncnn.param") or net.load_model(f"{folder}/net.ncnn.bin"):
            raise ValueError("not loaded")
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(np.ascontiguousarray(value[0])))
        return [np.array(extractor.extract(name)[1])[None] for name in net.output_names()]


RUNTIMES: Mapping[str, tuple[str, Callable[[Path, Mapping[str, Array]], list[Array]]]] = {
    "OpenVINO": ("openvino", in_openvino),
    "ncnn": ("ncnn", in_ncnn),
}
"""By name: the package, and what runs a file."""


def difference(path: Path, feed: Mapping[str, Array], runtime: Callable[..., list[Array]]) -> str:
    """Return how far a runtime is from onnxruntime."""
    expected = run(onnx.load(path), dict(feed))
    try:
        found = runtime(path, feed)
    except Exception:  # whatever keeps a runtime from a file, it does not take it
        return "-"
    if len(found) != len(expected) or any(a.size != b.size for a, b in zip(found, expected, strict=True)):
        return "-"
    scale = max(float(np.abs(value).max(initial=0)) for value in expected) or 1.0
    pairs = zip(found, expected, strict=True)
    return f"{max(float(np.abs(a.ravel() - b.ravel()).max(initial=0)) for a, b in pairs) / scale:.0e}"


def row(path: Path, ratio: float) -> list[str] | None:
    """Return the line of a file; None: nothing can be cut of it."""
    feed = inputs(load(path).proto)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "cut.onnx"
        try:
            prune(path, method="random", ratio=ratio, round_to=1, recovery="none", output=target, force=True)
        except OnnxPruneError:
            return None
        return [
            path.name,
            *(
                difference(file, feed, runtime)
                for package, runtime in RUNTIMES.values()
                if importlib.util.find_spec(package) is not None
                for file in (path, target)
            ),
        ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ratio", type=float, default=0.3)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args(arguments)
    lines = []
    for path in sorted(options.folder.rglob("*.onnx")):
        line = row(path, options.ratio)
        if line is not None:
            lines.append(line)
            print(*line, sep=" | ", flush=True)
    there = [name for name, (package, _) in RUNTIMES.items() if importlib.util.find_spec(package) is not None]
    head = ["file", *(f"{name}, {what}" for name in there for what in ("original", "cut"))]
    if options.page is not None:
        options.page.write_text(
            "# Other runtimes\n\nWritten by `python -m benchmarks.runtimes`: largest difference from onnxruntime as a\n"
            "share of its largest output, on the original and on a cut by random scores. A dash: the runtime, or its\n"
            "converter, does not take the file.\n\n" + table(head, lines)
        )


if __name__ == "__main__":
    main()
