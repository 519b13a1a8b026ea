"""The treatment of pixels in words."""

from onnxprune.values.preprocess import Preprocess


def describe(preprocess: Preprocess) -> str:
    """Return the scaling and the geometry in words."""
    parts = [f"scale {preprocess.scale:.6g}", f"mean {_numbers(preprocess.mean)}", f"std {_numbers(preprocess.std)}"]
    if preprocess.resize is not None:
        parts.append(f"resize {_size(preprocess.resize)}")
    if preprocess.crop is not None:
        parts.append(f"crop {_size(preprocess.crop)}")
    if preprocess.channel_order != "rgb":
        parts.append(preprocess.channel_order)
    return ", ".join(parts)


def _numbers(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:g}" for value in values)


def _size(size: tuple[int, int] | int) -> str:
    return str(size) if isinstance(size, int) else f"{size[0]} x {size[1]}"
