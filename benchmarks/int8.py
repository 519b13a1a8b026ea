"""Compare settings of onnxruntime's static quantizer: top-1, file size and latency of a model in 8 bits.

    python benchmarks/int8.py MODEL --data calibration.npz --test test.npz --preprocess imagenet [--images 3000]

The data are .npz files with x and y, as onnxprune takes them. The first row is the model as it is, the second what
`--quantize int8` does; see docs/decisions/0022-int8-settings.md.
"""

import argparse
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from onnxruntime import quantization
from onnxruntime.quantization import QuantType

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.tables import table  # noqa: E402
from onnxprune.data import Dataset, open_data, take  # noqa: E402
from onnxprune.evaluation import evaluate  # noqa: E402
from onnxprune.graph.loaded import load  # noqa: E402
from onnxprune.latency.measure import measure  # noqa: E402
from onnxprune.pipeline.execution.quantize import SAMPLES  # noqa: E402
from onnxprune.runtime import Session, open_session, quantize_int8  # noqa: E402
from onnxprune.values.preprocess import PRESETS, Preprocess  # noqa: E402

VARIANTS: dict[str, dict[str, Any]] = {
    "as chosen: uint8 activations, int8 weights by channel": {},
    "one scale for every tensor": {"per_channel": False},
    "weights in 7 bits (reduce_range)": {"reduce_range": True},
    "int8 activations": {"activation_type": QuantType.QInt8},
    "uint8 weights": {"weight_type": QuantType.QUInt8},
}


def quantized(path: Path, data: Dataset, more: dict[str, Any]) -> Any:
    """Return a model quantized as `--quantize int8` does it, but for the settings `more`."""
    plain = quantization.quantize_static
    with mock.patch.object(quantization, "quantize_static", lambda *args, **known: plain(*args, **{**known, **more})):
        return quantize_int8(path, (batch.feeds for batch in data.batches(32)), path.name)


def main() -> int:
    """Run the benchmark; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--preprocess", choices=sorted(PRESETS), required=True)
    parser.add_argument("--images", type=int, default=3000, help="of the test data, at most")
    arguments = parser.parse_args()
    specs = load(arguments.model).graph.input_specs
    pixels = Preprocess().with_preset(arguments.preprocess)
    data, test = (open_data(path, specs, pixels) for path in (arguments.data, arguments.test))
    some, measured = take(data, SAMPLES, 0), take(test, arguments.images, 0)
    feeds = next(test.batches(1)).feeds
    whole = Session(arguments.model, threads=1)
    rows = [["float32", f"{100 * evaluate(whole, measured).top1:.1f}", f"{arguments.model.stat().st_size:,}", "1.00"]]
    for name, more in VARIANTS.items():
        proto = quantized(arguments.model, some, more)
        session = open_session(proto, threads=1)
        found = measure({"float": whole, "int8": session}, feeds, repeats=300)
        times = found["int8"].median_ms / found["float"].median_ms
        top1 = 100 * evaluate(session, measured).top1
        rows.append([name, f"{top1:.1f}", f"{len(proto.SerializeToString()):,}", f"{times:.2f}"])
    print(table(("settings", "top-1 (%)", "bytes", "latency, float = 1"), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
