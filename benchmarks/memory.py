"""Prune large models with random scores and print the peak memory as a multiple of the weights.

    python benchmarks/memory.py [--gigabytes 3] [--layers gemm|conv|both] [--inline] [--ratio 0.5] [--folder DIR]
    python benchmarks/memory.py --model FILE.onnx [--ratio 0.5]

Without --model a net of the given size is built in a temporary folder, a layer at a time, with its weights in one data
file, or in the .onnx itself with --inline. The main job then runs in a process of its own on sixteen random samples.
The peak is the largest resident set of that process, mapped files included; `idle` is what the same process takes after
its imports alone.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onnxprune.graph.loaded import load
from onnxprune.graph.storage.load import open_model
from onnxprune.graph.storage.save import write_model
from onnxprune.graph.storage.weights import Weights, is_external, stored_tensors

SAMPLES = 16
PAGE = 4096
WIDTHS = {"gemm": 8192, "conv": 1024}
JOB = "import sys; from onnxprune.cli import main; sys.exit(main())"
IDLE = "import onnxprune.cli.program, onnxprune.pipeline.prune"


def build(folder: Path, gigabytes: float, kinds: list[str], *, inline: bool) -> Path:
    """Write a net of about this size: a stack of each kind of layer, every one beside a Relu."""
    model = onnx.ModelProto(ir_version=8, producer_name="onnxprune-benchmark")
    model.opset_import.add(version=17)
    graph = model.graph
    graph.name = "large"
    rng = np.random.default_rng(0)
    with (folder / "weights.bin").open("wb") as data:
        for kind in kinds:
            width = WIDTHS[kind]
            shape = (width, width) if kind == "gemm" else (width, width, 3, 3)
            layers = max(2, round(gigabytes * 2**30 / len(kinds) / (4 * np.prod(shape))))
            tensor = f"{kind}_in"
            free = [width] if kind == "gemm" else [width, 4, 4]
            graph.input.append(onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, ["n", *free]))
            for number in range(layers):
                weight = f"{kind}_{number}"
                graph.initializer.append(_store(data, weight, shape, rng))
                options = {"transB": 1} if kind == "gemm" else {"pads": [1] * 4}
                graph.node.append(
                    onnx.helper.make_node(kind.title(), [tensor, weight], [f"{weight}_out"], name=weight, **options)
                )
                tensor = f"{weight}_relu"
                graph.node.append(onnx.helper.make_node("Relu", [f"{weight}_out"], [tensor], name=tensor))
            graph.output.append(onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, ["n", *free]))
    path = folder / "large.onnx"
    path.write_bytes(model.SerializeToString())
    return _inlined(path) if inline else path


def _store(data: Any, name: str, shape: tuple[int, ...], rng: np.random.Generator) -> onnx.TensorProto:
    """Append a random weight to the data file and return the tensor that refers to it."""
    value = rng.standard_normal(shape, dtype=np.float32) * np.float32(np.sqrt(2 / np.prod(shape[1:])))
    data.write(bytes(-data.tell() % PAGE))
    tensor = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=shape)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, entry in (("location", "weights.bin"), ("offset", data.tell()), ("length", value.nbytes)):
        tensor.external_data.add(key=key, value=str(entry))
    data.write(value)
    return tensor


def _inlined(path: Path) -> Path:
    """Write the same model with its weights inside, which is what they are as far as `own` says so."""
    model, weights = open_model(path)
    inline = path.with_name("inline.onnx")
    write_model(model, Weights(weights.folder, "weights.bin", weights.files), inline)
    return inline


def weight_bytes(path: Path) -> int:
    """Return the bytes of all weights of a model."""
    model, weights = open_model(path)
    return sum(weights.length(t) if is_external(t) else t.ByteSize() for t in stored_tensors(model))


def samples(path: Path, target: Path) -> Path:
    """Write random inputs for a model."""
    rng = np.random.default_rng(1)
    feeds: dict[str, Any] = {}
    model = load(path)
    for spec in model.graph.input_specs:
        shape = (SAMPLES, *model.graph.facts.shapes[0][spec.name][1:])
        feeds[spec.name] = rng.standard_normal(shape).astype(spec.dtype)
    np.savez(target, **feeds)
    return target


def measure(path: Path, folder: Path, ratio: float) -> dict[str, Any]:
    """Prune a model in a process of its own and return what that took."""
    output = folder / "out" / "pruned.onnx"
    output.parent.mkdir()
    options = ["--method", "random", "--ratio", str(ratio), "--json", "-q", "-o", str(output)]
    data = samples(path, folder / "samples.npz")
    weights = weight_bytes(path)
    idle = peak_of([sys.executable, "-c", IDLE])[0]
    start = time.perf_counter()
    peak, result = peak_of([sys.executable, "-c", JOB, str(path), "--data", str(data), *options])
    return {
        "weights_mb": weights >> 20,
        "peak_mb": peak >> 20,
        "idle_mb": idle >> 20,
        "peak_over_weights": round(peak / weights, 2),
        "without_idle": round((peak - idle) / weights, 2),
        "seconds": round(time.perf_counter() - start, 1),
        "verification": json.loads(result)["verification"],
        "size_after_mb": sum(file.stat().st_size for file in output.parent.iterdir()) >> 20,
    }


def peak_of(command: list[str]) -> tuple[int, bytes]:
    """Run a command and return the largest resident set of it in bytes, and what it printed.

    A process between us and the command sees to it that only this command is counted.
    """
    between = (
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE);"
        "sys.stderr.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss));"
        "sys.stdout.buffer.write(done.stdout); sys.exit(done.returncode)"
    )
    done = subprocess.run([sys.executable, "-c", between, *command], capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    unit = 1 if sys.platform == "darwin" else 1024
    return int(done.stderr.split()[-1]) * unit, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="measure this file instead of building one")
    parser.add_argument("--gigabytes", type=float, default=3.0)
    parser.add_argument("--layers", choices=["gemm", "conv", "both"], default="both")
    parser.add_argument("--inline", action="store_true", help="weights in the .onnx (up to 2 GB)")
    parser.add_argument("--ratio", type=float, default=0.5)
    parser.add_argument("--folder", type=Path, help="where the temporary folder goes")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=options.folder, prefix="onnxprune-memory-"))
    try:
        kinds = ["gemm", "conv"] if options.layers == "both" else [options.layers]
        path = options.model or build(folder, options.gigabytes, kinds, inline=options.inline)
        print(json.dumps(measure(path, folder, options.ratio), indent=1))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
