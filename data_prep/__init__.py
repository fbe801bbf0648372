"""Converters: face data sets as their owners ship them, into records."""
