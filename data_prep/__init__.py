"""Converters: face data sets as their owners ship them, into records."""

import facejax  # noqa: F401 - which guards a command from here on: importing what it needs takes seconds
