"""Converts other people's weights."""
