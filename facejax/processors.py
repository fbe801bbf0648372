"""How many processors there are for this process."""

import os


def count() -> int:
    """Processors that this process may use; where the system does not tell (macOS), all of the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
