"""A lock for one run at a time in a workdir, which is taken over when the run that holds it has ended or was killed.

A file `run.lock` in the workdir names the holder. On a file system it is managed by filelock: a dead run on this
machine is noticed at once, one on another machine by its heartbeat, which changes the file's time every few seconds. In
a bucket the content is the heartbeat. Only changes matter, so clocks are never compared.

In a bucket, two runs that start at the same time both write the file; the one that finds the other's content in it
after `SETTLING` gives up.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator

import filelock
import jax
from absl import logging
from etils import epath

from facejax import paths
from facejax.errors import UserError
from facejax.files import named_write_errors
from facejax.processes import decided_by_first

NAME = "run.lock"
HEARTBEAT = 4.0  # seconds between updates of the file
LEASE = 30.0  # seconds without an update after which a run counts as dead
POLL = 0.5  # seconds
SETTLING = 2.0  # seconds after which a write to a bucket is visible to all


@contextlib.contextmanager
def held(workdir: epath.PathLike) -> Iterator[Callable[[], None]]:
    """Context in which this run, with any number of processes, is the only one in its workdir.

    Args:
      workdir: folder of the run, created if it does not exist.

    Returns:
      A function that raises a UserError if another run has taken over meanwhile, because this one was suspended.

    Raises:
      UserError: another run holds the lock, or the workdir cannot be written.
    """
    file = epath.Path(workdir) / NAME
    lease = (BucketLease if paths.is_url(file) else FileLease)(file)

    def check() -> None:
        if lease.lost:
            raise UserError(
                f"{workdir} was taken over by {lease.holder()} while this run was suspended: this run ends here"
            )

    decided_by_first(lambda: _acquire(lease, file))
    try:
        yield check
    finally:
        if jax.process_index() == 0:
            lease.release()


def _acquire(lease, file) -> None:
    if file.is_dir():
        raise UserError(f"{file} is a folder, but must be the file that locks the workdir: remove it")
    with named_write_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        if lease.acquire():
            return
        sign, holder = lease.sign_of_life(), lease.holder()
        logging.info("%s is held by %s: waiting up to %d s for a sign of life", file, holder, LEASE)
        end = time.monotonic() + LEASE + 2 * POLL
        while time.monotonic() < end:
            time.sleep(POLL)
            if lease.acquire():
                logging.info("%s gave none: this run takes over", holder)
                return
            if lease.sign_of_life() not in (sign, None):
                break
    raise UserError(
        f"{file.parent} is in use by {holder}: wait for that run, or stop it, or choose another --workdir"
        f" (if there is no such run, remove {file})"
    )


class FileLease:
    """The lock on a file system, shared between machines or not."""

    def __init__(self, file: epath.Path):
        self._lock = filelock.SoftFileLease(
            os.fspath(file), lease_duration=LEASE, heartbeat_interval=HEARTBEAT, thread_local=False
        )
        self._file, self._asked_at = file, None

    def acquire(self) -> bool:
        """Takes the lock unless a live run holds it. A holder on another machine must be checked repeatedly."""
        self._asked_at = self._asked_at or time.monotonic()
        if self._lock.owner is None and time.monotonic() - self._asked_at > LEASE:
            self._lock.force_break()  # no writer: a crash of the machine emptied it
        for _ in range(2):  # where files cannot be exchanged, as on NFS, the first attempt only removes a stale lock
            with contextlib.suppress(filelock.Timeout, filelock.LeaseSettingsMismatch):  # the latter: another `LEASE`
                self._lock.acquire(blocking=False)
                return True
        return False

    def sign_of_life(self):
        """Something that changes with each heartbeat of the holder."""
        with contextlib.suppress(OSError):
            status = os.stat(self._file)
            return status.st_mtime_ns, status.st_ino

    def holder(self) -> str:
        """Who holds the lock."""
        owner = self._lock.owner
        return f"process {owner.pid} on {owner.hostname.partition('?')[0]}" if owner else "another run"

    @property
    def lost(self) -> bool:
        """Whether another run has taken the lock that this one held."""
        return self._lock.compromise is not None

    def release(self) -> None:
        """Releases the lock."""
        self._lock.release()


class BucketLease:
    """The lock where files can only be written, read and removed completely; see `FileLease`."""

    def __init__(self, file: epath.Path):
        self._file = file
        self._owner = {"host": socket.gethostname(), "process": os.getpid(), "run": secrets.token_hex(8)}
        self._beats = 0
        self._seen, self._seen_at = None, 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat_until_stopped, name="workdir-lock", daemon=True)
        self.lost = False

    def acquire(self) -> bool:
        """Takes the lock unless a live run holds it. A holder must be checked repeatedly."""
        content = self.sign_of_life()
        if content != self._seen:
            self._seen, self._seen_at = content, time.monotonic()
        if content is not None and time.monotonic() - self._seen_at < LEASE:
            return False
        self._beat()
        time.sleep(SETTLING)
        if not self._is_ours():
            return False
        self._thread.start()
        return True

    def sign_of_life(self) -> str | None:
        """The content of the file, which changes with each heartbeat of the holder."""
        try:
            return self._file.read_bytes().decode(errors="replace")
        except FileNotFoundError:
            return None

    def holder(self) -> str:
        """Who holds the lock."""
        try:
            owner = json.loads(self.sign_of_life() or "")
            return f"process {owner['process']} on {owner['host']}"
        except (ValueError, KeyError, TypeError):
            return "another run"

    def release(self) -> None:
        """Releases the lock."""
        self._stopped.set()
        self._thread.join()
        if self._is_ours():
            self._file.unlink(missing_ok=True)

    def _beat(self) -> None:
        self._beats += 1
        self._file.write_text(json.dumps(self._owner | {"beats": self._beats}))

    def _is_ours(self) -> bool:
        return self._owner["run"] in (self.sign_of_life() or "")

    def _beat_until_stopped(self) -> None:
        while not self._stopped.wait(HEARTBEAT):
            try:
                self.lost = not self._is_ours()
                if self.lost:
                    return
                self._beat()
            except Exception as error:  # from any client; the next beat may succeed
                logging.warning("%s could not be renewed: %s", self._file, error)
