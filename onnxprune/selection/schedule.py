"""How much is left on the way to what is asked for, where it is reached in several steps."""


def left_after(way: float, left: float) -> float:
    """Return what share is left after a part `way` of the way, from 0 to 1, at whose end `left` is: in equal ratios.

    What is left shrinks geometrically: half of the way to 25 %, 50 % are left.
    """
    return float(max(left, 0.0) ** way)
