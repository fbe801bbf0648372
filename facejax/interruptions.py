"""Ctrl-C and SIGTERM: a command ends within seconds with one line; a training loop saves first.

Uses only the standard library and imports nothing slow, because a command imports it before anything else.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE = 2.0  # seconds for the main thread to remove incomplete files


class Guard:
    """Ends this process after Ctrl-C or SIGTERM, whatever the main thread is doing.

    Python runs a signal's handler in the main thread between two bytecodes, so not while XLA compiles. But its C
    handler writes the signal's number to a pipe at once, and a thread reads there: it ends the process if the main
    thread has not done so `GRACE` seconds later. The process ends without the interpreter's shutdown, which waits for
    worker threads and crashes where one of them is inside XLA. Worker processes are killed.

    Args:
      program: beginning of the line on stderr.
    """

    def __init__(self, program: str):
        self.program = program
        self.cleans_up = False  # whether a KeyboardInterrupt in the main thread arrives where `end` is called
        self.defer: Callable[[int], None] | None = None  # called with the first signal instead, in the watching thread
        self.received: int | None = None  # the signal that ends the process
        self._ending = threading.Lock()

    def install(self) -> None:
        """Catches the signals from now on. Only in the main thread."""
        reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._wakeup_before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._handlers_before = {number: signal.signal(number, self._interrupt) for number in SIGNALS}
        self._thread = threading.Thread(target=self._watch, args=(reading,), name="signals", daemon=True)
        self._thread.start()

    def uninstall(self) -> None:
        """Restores the previous handlers."""
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._writing)
        self._thread.join()

    def end(self, number: int) -> None:
        """Kills worker processes, prints the line, and ends the process with the status 128 + `number`."""
        self._ending.acquire()  # never released: one thread ends the process, others wait here
        end_process(128 + number, f"{self.program}: interrupted; the same command resumes from what is finished")

    def _interrupt(self, number, frame) -> None:
        """What Python calls in the main thread."""
        if self.defer or self.received:
            return
        self.received = number
        if not self.cleans_up:
            self.end(number)
        sys.unraisablehook = threading.excepthook = lambda *_: None  # no traceback for an interrupted callback
        raise KeyboardInterrupt

    def _watch(self, reading: int) -> None:
        with open(reading, "rb", buffering=0) as pipe:
            seen = 0
            while byte := pipe.read(1):
                number = byte[0]
                if number not in SIGNALS:
                    continue
                seen += 1
                if seen > 1:
                    self.end(number)
                elif self.defer:
                    self.defer(number)
                else:
                    threading.Thread(target=self._end_later, args=(number,), name="signals", daemon=True).start()

    def _end_later(self, number: int) -> None:
        time.sleep(GRACE)
        self.end(number)


_guard: Guard | None = None  # of this process


def guard_command(program: str) -> None:
    """Guards a process from its first imports on, which take seconds; `guarded` takes over when the command runs."""
    global _guard
    _guard = Guard(program)
    _guard.install()


@contextlib.contextmanager
def guarded(program: str) -> Iterator[None]:
    """Context that Ctrl-C and SIGTERM interrupt; the process ends once it is left, or after `GRACE` seconds.

    Args:
      program: beginning of the line on stderr.
    """
    global _guard
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = _guard
    if before is None:
        _guard = Guard(program)
        _guard.install()
    _guard.program, _guard.cleans_up = program, True
    try:
        yield
    finally:
        if _guard.received:  # whatever the exception: libraries convert it to others
            with contextlib.suppress(OSError):
                sys.stdout.flush()
            _guard.end(_guard.received)
        _guard.cleans_up = False
        if before is None:
            _guard.uninstall()
            _guard = None


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], int]]:
    """Context with a function `stopped() -> int`: the signal received, or 0. A second signal ends the process at once.

    With several processes JAX listens to SIGTERM itself and agrees on the step to leave at
    (`Checkpoints.reached_preemption`), so nothing is caught here.
    """
    import jax  # not at the top: this module is imported before JAX
    from absl import logging

    if jax.process_count() > 1:
        yield lambda: 0
        return
    received = []

    def note(number, frame=None):
        received.append(number)
        logging.info("%s: finishing this step, then saving.", signal.Signals(number).name)

    if _guard is not None:
        _guard.defer = note
        try:
            yield lambda: received[0] if received else 0
        finally:
            _guard.defer = None
        return

    def note_once(number, frame):  # training was called from Python, and the caller continues
        for each, handler in before.items():
            signal.signal(each, handler)
        note(number)

    before = {number: signal.signal(number, note_once) for number in SIGNALS}
    try:
        yield lambda: received[0] if received else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def ctrl_c_blocked() -> Iterator[None]:
    """Context for starting processes that Ctrl-C does not reach.

    A terminal sends it to all processes of a command; worker processes would each print a traceback, and be
    missing in the step that is to be finished. Their parent ends them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_process(status: int, message: str) -> None:
    """Kills worker processes, writes a line to stderr and ends this process now, from any thread."""
    for worker in multiprocessing.active_children():
        worker.kill()
    line = "\n" * os.isatty(2) + message + "\n"  # below a progress bar and the ^C of a terminal
    os.write(2, line.encode())  # not sys.stderr: another thread may hold its lock
    os._exit(status)
