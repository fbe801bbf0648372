"""Protocols: features and labels in, metrics out."""
