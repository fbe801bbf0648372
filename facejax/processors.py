"""The number of processors for this process."""

import os


def count() -> int:
    """Number of processors that this process may use; all of the machine's where the system does not say (macOS)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
