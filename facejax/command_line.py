"""The command lines of `python -m facejax.NAME`."""

import argparse
from typing import NoReturn

from facejax.errors import UserError


class Parser(argparse.ArgumentParser):
    """Parser whose help begins with an example and whose errors are one line.

    Args:
      name: of the module.
      description: its docstring, which begins with an example.
    """

    def __init__(self, name: str, description: str):
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(f"python -m facejax.{name}", None, description, formatter_class=formatter, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raises UserError instead of printing the usage first."""
        raise UserError(f"{message}; {self.prog} --help shows an example")
