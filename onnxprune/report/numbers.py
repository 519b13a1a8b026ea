"""Numbers as people read them: percentages for shares, and every quantity in its own unit."""

_NONE = "-"


def count(value: float) -> str:
    """Return a number of things: whole up to a million, then four digits and M or G."""
    for unit, size in (("G", 1e9), ("M", 1e6)):
        if value >= size:
            return f"{value / size:#.4g}".rstrip(".") + f" {unit}"
    return f"{value:,.0f}"


def size(value: int) -> str:
    """Return bytes in decimal units."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= factor:
            return f"{value / factor:#.4g}".rstrip(".") + f" {unit}"
    return f"{value} bytes"


def latency(value: float | None) -> str:
    """Return milliseconds to three digits, or a dash where nothing was measured."""
    if value is None:
        return _NONE
    return f"{value:,.0f} ms" if value >= 100 else f"{value:#.3g} ms"


def points(change: float) -> str:
    """Return a change of a share in signed percentage points."""
    return f"{signed(change)} points"


def amount_of_points(share: float) -> str:
    """Return a share as percentage points without a sign: `1 point`, `2.5 points`."""
    return "1 point" if share == 0.01 else f"{100 * share:g} points"


def point_span(interval: tuple[float, float]) -> str:
    """Return an interval of changes in signed percentage points."""
    return f"{signed(interval[0])} to {signed(interval[1])}"


def span(interval: tuple[float, float]) -> str:
    """Return an interval of shares as percentages."""
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"


def times(before: float | None, after: float | None) -> str:
    """Return original over pruned with two decimals, or a dash where there is none."""
    return f"{before / after:.2f}" if before is not None and after else _NONE


def many(number: int, what: str) -> str:
    """Return a number of things in words: `1 group`, `2 groups`, `2 classes`."""
    ending = "" if number == 1 else "es" if what.endswith("s") else "s"
    return f"{number:,} {what}{ending}"


def signed(change: float) -> str:
    """Return a change of a share in percentage points, signed, without their name."""
    rounded = round(100 * change, 1)
    return f"{rounded + 0.0:+.1f}" if rounded else "0.0"
