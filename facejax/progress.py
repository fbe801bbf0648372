"""No long silence: a phase is logged when it begins and, for as long as it lasts, every few seconds.

Imports nothing that takes long: the import of JAX is a phase itself.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

from absl import logging

INTERVAL = 4.0  # seconds
ERASE = "\r\x1b[K"  # has a terminal write the line anew


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """Context that logs `name ...`, then `name: still running after 4 s` and so on, then how long it took.

    A phase that ends before the first of these lines has one line only. On a terminal each of them replaces the one
    before. They come from a thread of their own, so that XLA, which compiles for minutes, does not hold them back.

    Args:
      name: what happens, such as "Compiling the train step".
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
