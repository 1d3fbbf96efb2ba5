"""The folder in which several workers share their counters; see `sidecar.metrics`. Their sockets for
each other lie there too.

Rule: Prometheus' library decides when it is imported whether counters are shared, from a variable of the
environment. So the folder is made first, and what uses the library is imported while it is there.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from sidecar.settings import set_environment

__all__ = ["metrics_folder"]


@contextmanager
def metrics_folder(workers: int) -> Iterator[str | None]:
    """For this number of workers, while the body runs; a single process needs none."""
    if workers == 1:
        yield None
        return
    folder = tempfile.mkdtemp(prefix="sidecar-metrics-")
    try:
        set_environment("PROMETHEUS_MULTIPROC_DIR", folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
