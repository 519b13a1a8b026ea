"""What a network is timed on."""

from dataclasses import dataclass
from typing import Any

from onnxprune.errors import InputError
from onnxprune.latency import board


@dataclass(frozen=True)
class Device:
    """What is timed on: threads within a kernel (None: the runtime's choice) and execution provider."""

    threads: int | None = None
    provider: str = board.CPU

    def describe(self) -> dict[str, Any]:
        """Return what timings depend on, as JSON types."""
        return board.machine(self.threads, self.provider)


def refuse_provider(device: Device) -> None:
    """Refuse an execution provider that this onnxruntime does not have.

    Raises:
        InputError: it does not; the message has those that there are.
    """
    there = board.providers()
    if device.provider not in there:
        raise InputError(f"This onnxruntime has no {device.provider!r}; it has {', '.join(there)}.", "no-device")
