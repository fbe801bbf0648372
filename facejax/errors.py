"""The error that a user can cause."""


class UserError(Exception):
    """One line that says what is wrong, where (file, key, record), and what to do.

    `facejax.main` and the `data_prep` commands print it without a traceback and exit with status 2.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))
