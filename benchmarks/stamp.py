"""When and with what a figure was made."""

import platform
from datetime import date
from importlib.metadata import version

PACKAGES = ("onnxprune", "onnx", "onnxruntime", "numpy")


def stamp() -> str:
    """Return the date, the versions and the system, as a sentence without its full stop."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    system = f"Python {platform.python_version()}, {platform.system()} on {platform.machine()}"
    return f"{date.today().isoformat()}, {versions}, {system}"
