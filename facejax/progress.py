"""Progress of phases: each is logged when it begins and every few seconds while it lasts.

Imports nothing slow: the import of JAX is itself a phase.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

from absl import logging

INTERVAL = 4.0  # seconds
ERASE = "\r\x1b[K"  # makes a terminal rewrite the line


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """Context that logs `name ...`, then `name: still running after 4 s` and so on, then how long it took.

    A phase that ends before the first of these has a single line. On a terminal each line replaces the previous one. A
    separate thread writes them, so XLA, which may compile for minutes, does not delay them.

    Args:
      name: of the phase, such as "Compiling the train step".
    """
    began, over = time.monotonic(), threading.Event()

    def report():
        while not over.wait(INTERVAL):
            line = f"{name}: still running after {time.monotonic() - began:.0f} s"
            if sys.stderr.isatty():
                sys.stderr.write(f"{ERASE}{line}")
                sys.stderr.flush()
            else:
                logging.info(line)
        if sys.stderr.isatty():
            sys.stderr.write(ERASE)

    logging.info("%s ...", name)
    reporting = threading.Thread(target=report, name=f"progress of {name}", daemon=True)
    reporting.start()
    try:
        yield
    finally:
        over.set()
        reporting.join()
    if (seconds := time.monotonic() - began) >= INTERVAL:
        logging.info("%s: done in %.0f s", name, seconds)
