"""What no field takes, whatever it is given as: one refusal that names it, and never another error."""

import datetime
from contextlib import nullcontext, suppress
from typing import Any

import numpy as np
import pytest
from refusals import refused

import onnxprune
from onnxprune.errors import InputError
from onnxprune.pipeline.config.base import keyword_of, options_of
from onnxprune.pipeline.config.file import joined, read_file
from onnxprune.pipeline.config.jobs import (
    ApplyConfig,
    FinetuneConfig,
    InspectConfig,
    IterateConfig,
    MethodsConfig,
    ProfileConfig,
    PruneConfig,
)

ODD: tuple[Any, ...] = (
    10**400, -(10**400), float("inf"), float("nan"), 1e308, 1e-300, -1, 0, True, 3, [], {}, ["a"], {"a": 1}, "",
    "x" * 5000, "a\0b", b"a", object(), np.zeros(3), datetime.date(2020, 1, 1), "1e400", "99999999999", "nan", "..",
    "/", None,
)  # fmt: skip
NEEDED = {"model": "m.onnx", "data": "d", "plan": "p"}


@pytest.mark.parametrize(
    "config", [PruneConfig, ApplyConfig, FinetuneConfig, IterateConfig, ProfileConfig, InspectConfig, MethodsConfig]
)
def test_odd_values_are_taken_or_refused_by_name(config: type) -> None:
    fields = options_of(config)
    for name in fields:
        for value in ODD:
            given = {key: found for key, found in NEEDED.items() if key in fields} | {name: value}
            keywords = {keyword_of(fields[key][0]): found for key, found in given.items()}
            refusal = None
            with suppress(TypeError) if value is None else nullcontext():  # what has to be given
                try:
                    config(**keywords)
                except InputError as error:
                    refusal = error
            assert refusal is None or len(str(refusal)) < 500


def test_what_is_no_text_is_no_choice() -> None:
    for name in ("quantize", "recovery", "device", "layout", "method", "policy", "train"):
        with refused("bad-value", name, "3"):
            PruneConfig("m.onnx", **{name: 3})  # type: ignore[arg-type]


def test_settings_that_contradict_each_other_are_refused(tmp_path: Any) -> None:
    file = tmp_path / "o.toml"
    file.write_text('vote = true\nrule = "mean"\n')
    with refused("bad-value", "rule", "vote", "mean"):
        PruneConfig("m.onnx", **read_file(file, PruneConfig))
    with refused("bad-value", "rule", "vote", "mean"):
        onnxprune.prune("m.onnx", options=["rule=vote", "rule=mean"])
    file.write_text("vote = true\n")
    told = joined(read_file(file, PruneConfig), {"options": ("rule=mean",)}, PruneConfig)
    assert PruneConfig("m.onnx", **told).options == {"rule": "mean"}, "the command line goes before the file"


def test_files_of_windows_and_keys_of_the_shell(tmp_path: Any) -> None:
    file = tmp_path / "o.toml"
    file.write_bytes(b'\xef\xbb\xbfmacs = "50%"\n')
    assert read_file(file, PruneConfig) == {"macs": "50%"}
    file.write_text("quiet = true\n")
    with refused("unknown-name", "quiet", "command line"):
        read_file(file, PruneConfig)
    file.write_text("round-to = 8\nround_to = 16\n")
    with refused("conflicting-options", "round-to"):
        read_file(file, PruneConfig)


def test_iterations_go_by_top1() -> None:
    with pytest.raises(InputError, match="by top-1 on the validation data"):
        IterateConfig("m.onnx", data="d", macs=0.5, check_accuracy=False)
