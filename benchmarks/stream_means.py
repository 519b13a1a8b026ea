"""What the mean of a stream is worth to a norm that divides by it: half of a stream goes, in its principal axes or not.

    python -m benchmarks.stream_means [--seeds 3] [--page FILE.md]

Random nets of one block behind LayerNormalization or RMSNormalization, whose stream has a mean of so many standard
deviations. Scores go by moments of what the readers read: about its means, which a bias makes up for, or as they do
now about what is always added behind the norm. Errors are on new samples, as a share of the variance of the outputs.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / folder) for folder in ("", "tests")]

import numpy as np  # noqa: E402
import onnx  # noqa: E402
from nets import net, run  # noqa: E402

from benchmarks.tables import table  # noqa: E402
from onnxprune import prune  # noqa: E402

LEAVING = """(float[n, 6, 10] x) => (float[n, 6, 4] y)
    <float[10, 16] w0, float[16] c0, float[16] s1, float[16, 24] w1, float[24, 16] w2, float[16] s2, float[16, 4] w3> {
        e0 = MatMul(x, w0)
        e = Add(e0, c0)
        n1 = RMSNormalization<axis = -1>(e, s1)
        h = MatMul(n1, w1)
        r = Relu(h)
        f = MatMul(r, w2)
        z = Add(e, f)
        n2 = RMSNormalization<axis = -1>(z, s2)
        y = MatMul(n2, w3)
    }"""
CENTRING = LEAVING.replace("RMS", "Layer").replace("s1)", "s1, b1)").replace("s2)", "s2, b2)").replace(
    "float[16] s1", "float[16] s1, float[16] b1, float[16] b2"
)  # fmt: skip
NETS = {"RMSNormalization": (LEAVING, 23, 11), "LayerNormalization": (CENTRING, 17, 8)}
MEANS = (0, 1, 3)
GIVEN, JUDGING = 256, 200


def error(text: str, opset: int, ir: int, seed: int, mean: int, *, turned: bool, about_means: bool) -> float:
    """Cut half of the stream of one net, and return the error of its outputs."""
    model = net(text, opset=opset, ir=ir, seed=seed)
    shift = np.random.default_rng(100 + seed).standard_normal(16) * mean
    place = next(tensor for tensor in model.graph.initializer if tensor.name == "c0")
    place.CopyFrom(onnx.numpy_helper.from_array(shift.astype(np.float32), "c0"))
    given, judging = (
        np.random.default_rng(number).standard_normal((count, 6, 10)).astype(np.float32)
        for number, count in ((0, GIVEN), (7, JUDGING))
    )
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        onnx.save(model, folder / "net.onnx")
        np.savez(folder / "given.npz", x=given)
        if not turned:
            stack.enter_context(patch("onnxprune.pipeline.opening.arranged", nullcontext))
        if about_means:
            stack.enter_context(patch("onnxprune.calibration.moments._always_added", lambda *_: None))
        options: dict[str, Any] = {
            "ratio_for": ["e0=50%"],
            "keep": ["h"],
            "recovery": "refit",
            "round_to": 1,
            "force": True,
        }
        prune(folder / "net.onnx", folder / "given.npz", output=folder / "out.onnx", allow="approximate", **options)
        before, after = (run(found, {"x": judging})[0] for found in (model, onnx.load(folder / "out.onnx")))
    return float(np.square(after - before).sum() / np.square(before - before.mean(axis=0)).sum())


def page(seeds: int) -> str:
    """Return the page."""
    lines = []
    for (name, built), mean, turned in product(NETS.items(), MEANS, (False, True)):
        found = [
            [error(*built, seed, mean, turned=turned, about_means=about_means) for seed in range(seeds)]
            for about_means in (True, False)
        ]
        cells = (", ".join(f"{each:.2f}" for each in errors) for errors in found)
        lines.append((name, str(mean), "principal axes" if turned else "as it is", *cells))
    head = ("norm", "mean of the stream, in deviations", "stream", "moments about means", "about what is added")
    return (
        "# The mean of a stream behind a norm\n\n"
        "Written by `python -m benchmarks.stream_means`: half of the channels of a stream of random nets go, refit.\n"
        f"Errors of the outputs on new samples, as a share of their variance, of {seeds} nets each.\n\n"
        + table(head, lines)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page, or print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args(arguments)
    text = page(options.seeds)
    if options.page is None:
        print(text, end="")
    else:
        options.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
