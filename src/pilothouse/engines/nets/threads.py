"""How many threads torch and the BLAS use: settings of the whole process, so they are put back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_inside = 0
_limit = ExitStack()


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Sets torch's number of threads for a while."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keeps NumPy's BLAS to the calling threads while any of them is in such a block.

    Products that fit the cache are too small to be shared, and its threads wait for one another by spinning.
    """
    global _inside
    with _lock:
        _inside += 1
        if _inside == 1:
            _limit.enter_context(_blas().limit(limits=1))
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _limit.close()


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")
