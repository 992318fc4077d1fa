"""Which arrays show the memory of which."""

from __future__ import annotations

from typing import Any

import numpy as np


def shows_memory_of(array: np.ndarray[Any, Any], origin: Any) -> bool:
    """Does an array that was just made of `origin` show its memory? For `__array_finalize__`, which runs for every slice."""
    base = array.base
    if base is None:
        # A copy.
        return False
    # A view's base is what it was taken of, or what that was taken of. Anything else has to be looked at.
    return base is origin or base is origin.base or np.may_share_memory(array, origin)
