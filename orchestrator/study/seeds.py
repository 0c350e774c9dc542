"""Seeds that a draw gets from the search's seed and its place, so that no generator has a state."""

import hashlib


def derived_seed(seed: int, number: int, parameter: str) -> int:
    """Seed of one draw: of a whole trial (`parameter` is empty) or of one parameter."""
    digest = hashlib.sha256(f"{seed}/{number}/{parameter}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
