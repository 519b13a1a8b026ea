"""Files of a cut model: staged, read back, and put in place."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from onnxprune.graph.storage.load import open_model
from onnxprune.graph.storage.paths import Inputs, check_outputs, data_names
from onnxprune.graph.storage.save import locations, write_model
from onnxprune.graph.storage.staging import Staging, explained
from onnxprune.graph.storage.weights import Weights
from onnxprune.surgery.cut import Cut


def save(result: Cut, path: Path | str) -> None:
    """Write a cut model, with its data files beside it where the original has such, in one step.

    Raises:
        InputError: it cannot be written there, or would overwrite a data file of the model that was cut.
    """
    path = Path(path)
    data_files = {f"the input model's data file {name!r}": file.path for name, file in result.weights.files.items()}
    check_outputs({"the model": path}, Inputs(data_files))
    with Staging() as staging:
        stage(result, path, staging)
        staging.commit(last=path, kept=bool(locations(result.model, result.weights)))


def stage(
    result: Cut,
    path: Path,
    staging: Staging,
    names: Mapping[str, str] | None = None,
) -> Cut:
    """Make the files of a cut model that is to be put at `path` and return the cut as it is read back from them.

    Its data files get `names` (location -> location), else such as no other file has.

    Raises:
        InputError: they cannot be made.
    """
    temporary = staging.folder(path) / path.name
    if names is None:
        names = data_names(result.model, result.weights, path)
    with explained(path):
        write_model(result.model, result.weights, temporary, names)
    return result.stored(*open_model(temporary))


def relabelled(cut: Cut, proto: onnx.ModelProto, path: Path, staging: Staging) -> Cut:
    """Put a model with other metadata in the place of a staged cut; its data files stay as they are."""
    if cut.weights.own:  # heavy values are read from this very file
        return put_in_place(cut, proto, cut.weights, path, staging, lambda *_: None)
    file = staging.folder(path) / path.name
    with explained(path):
        file.write_bytes(proto.SerializeToString(deterministic=True))
    return cut.stored(*open_model(file))


def put_in_place(
    cut: Cut,
    proto: onnx.ModelProto,
    weights: Weights,
    path: Path,
    staging: Staging,
    check: Callable[[onnx.ModelProto, Weights], None],
) -> Cut:
    """Put a model with other weights in the place of a staged cut, if `check` lets it pass as it is read back.

    Files that are mapped are not written over: the cut goes on reading its own until it is let go of.
    """
    folder = staging.folder(path)
    with TemporaryDirectory(dir=folder, prefix="onnxprune-", ignore_cleanup_errors=True) as temporary:
        scratch = Path(temporary)
        with explained(path):
            write_model(proto, weights, scratch / path.name)
        check(*open_model(scratch / path.name))
        with explained(path):
            for file in [file for file in scratch.rglob("*") if file.is_file()]:
                file.replace(folder / file.relative_to(scratch))
    return cut.stored(*open_model(folder / path.name))
