"""Loading and running models: specs, messages, and cutting samples into calls of the model's batch size."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors
from refusals import refused

from onnxprune.runtime import Session
from onnxprune.runtime.layout import layout_block


def model(text: str) -> bytes:
    parsed = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text}')
    onnx.checker.check_model(parsed)
    data: bytes = parsed.SerializeToString()
    return data


def doubling(batch: str) -> Session:
    text = f"g (float[{batch}, 3] x) => (float[{batch}, 3] y) {{ y = Add(x, x) }}"
    return Session(model(text), name="net")


def rows(count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.arange(count * 3, dtype=np.float32).reshape(count, 3)


def test_specs_give_fixed_and_free_dimensions_and_numpy_types() -> None:
    session = Session(model("g (float[n, 3] x, int64[2] k) => (double[n, 3] y) { y = Cast <to = 11> (x) }"))
    assert [(spec.name, spec.shape, spec.dtype) for spec in session.inputs] == [
        ("x", (None, 3), "float32"),
        ("k", (2,), "int64"),
    ]
    assert session.outputs[0].dtype == "float64"


@pytest.mark.parametrize(("batch", "chunk_size"), [("n", None), ("1", 1), ("4", 4)])
def test_samples_come_back_in_order_for_every_batch_dimension(batch: str, chunk_size: int | None) -> None:
    session = doubling(batch)
    assert session.chunk_size == chunk_size
    feed = rows(6)
    np.testing.assert_array_equal(session.run_samples({"x": feed})["y"], 2 * feed)


def test_last_chunk_is_filled_with_the_last_sample() -> None:
    chunks = list(doubling("4").chunks({"x": rows(6)}))
    assert [(chunk.start, chunk.count, chunk.size) for chunk in chunks] == [(0, 4, 4), (4, 2, 4)]
    np.testing.assert_array_equal(chunks[1].feeds["x"], rows(6)[[4, 5, 5, 5]])


def test_several_rows_per_sample_are_kept_together() -> None:
    text = "g (float[2, 3] x) => (float[6, 1] y) <int64[2] s = {-1, 1}> { y = Reshape(x, s) }"
    session = Session(model(text))
    result = session.run_samples({"x": rows(3)})["y"]
    np.testing.assert_array_equal(result[:, 0], np.arange(9))


def test_sum_over_the_batch_is_refused_by_name() -> None:
    session = Session(model("g (float[2, 3] x) => (float total) { total = ReduceSum <keepdims = 0> (x) }"))
    with refused("wrong-outputs", "'total'"):
        session.run_samples({"x": rows(4)})


def test_number_of_rows_that_changes_with_the_data_is_refused() -> None:
    session = Session(model("g (float[1, 3] x) => (int64[m, 2] hits) { a = NonZero(x) hits = Transpose(a) }"))
    feed = np.array([[1, 0, 0], [1, 1, 0]], dtype=np.float32)
    with refused("wrong-outputs", "'hits'"):
        session.run_samples({"x": feed})


def test_fixed_output_behind_a_free_batch_gives_one_sample_at_a_time() -> None:
    text = "g (float[n, 3] x) => (float[3] y) <int64[1] s = {3}> { y = Reshape(x, s) }"
    session = Session(model(text))
    assert session.chunk_size == 1
    assert session.run_samples({"x": rows(2)})["y"].shape == (6,)


def test_scalar_input_is_shared_by_all_samples() -> None:
    session = Session(model("g (float[1, 3] x, float k) => (float[1, 3] y) { y = Mul(x, k) }"))
    result = session.run_samples({"x": rows(4), "k": np.array(3, np.float32)})
    np.testing.assert_array_equal(result["y"], 3 * rows(4))


def test_inputs_without_common_axis_are_one_whole_call() -> None:
    text = "g (float[1, 3] x, float[2, 1, 3] state) => (float[2, 1, 3] y) { y = Add(x, state) }"
    session = Session(model(text))
    feeds = {"x": rows(1), "state": np.ones((2, 1, 3), np.float32)}
    (chunk,) = session.chunks(feeds)
    assert (chunk.count, chunk.size) == (1, 1)
    assert session.run_samples(feeds)["y"].shape == (2, 1, 3)


def test_broken_file_is_named_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model")
    with refused("not-runnable", "broken.onnx") as caught:
        Session(path)
    assert "\n" not in str(caught.value)
    assert "ONNXRuntimeError" not in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with refused("not-runnable", "none.onnx"):
        Session(tmp_path / "none.onnx")


def test_wrong_feed_and_unknown_output_are_named() -> None:
    session = doubling("n")
    with refused("not-runnable", "'net'", "x [2, 5]"):
        session.run({"x": np.zeros((2, 5), np.float32)})
    with refused("unknown-name", "'z'", "y"):
        session.run({"x": rows(1)}, ["z"])


@pytest.mark.parametrize("level", ["none", "basic", "extended", "all"])
def test_every_optimisation_level_gives_the_same(level: str) -> None:
    text = "g (float[n, 3] x) => (float[n, 3] y) { y = Add(x, x) }"
    session = Session(model(text), optimization=level, threads=1)  # type: ignore[arg-type]
    np.testing.assert_array_equal(session.run({"x": rows(2)})["y"], 2 * rows(2))


def test_failing_to_load_and_run_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    session = doubling("n")
    with refused("not-runnable"):
        session.run({"x": np.zeros((2, 5), np.float32)})
    with refused("not-runnable"):
        Session(b"\x08\x08")
    assert capfd.readouterr().err == ""


def test_whatever_the_system_refuses_onnxruntime_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise ort_errors.ModelRequiresCompilation("SystemError : 13")

    monkeypatch.setattr("onnxruntime.InferenceSession", denied)
    with refused("unreadable-file", "SystemError : 13", "can be read"):
        doubling("n")
    assert layout_block() is None
