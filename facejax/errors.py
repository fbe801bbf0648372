"""The error that a user can cause, and how commands report it."""

import contextlib
import sys
from collections.abc import Iterator

from facejax.interruptions import guarded


class UserError(Exception):
    """One line that says what is wrong, where (file, key, record), and what to do."""

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))


@contextlib.contextmanager
def report_user_errors(program: str) -> Iterator[None]:
    """Context of a command: prints `program: what happened` on stderr instead of a traceback.

    The exit status is 2 for a `UserError`, 130 for Ctrl-C and 143 for SIGTERM.
    """
    try:
        with guarded(program):
            yield
    except KeyboardInterrupt:  # not from a signal, which ends the process in `guarded`
        print(f"{program}: interrupted; the same command resumes from what is finished", file=sys.stderr)
        sys.exit(130)
    except UserError as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(2)
