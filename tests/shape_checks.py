"""Compares every call that a test makes with the shapes in the signatures."""

import contextlib

import jaxtyping

PACKAGES = ["facejax.losses", "facejax.models", "facejax.methods", "facejax.architectures"]


def install() -> None:
    """Checks the functions of the packages that are imported from now on."""
    jaxtyping.install_import_hook(PACKAGES, "beartype.beartype")


@contextlib.contextmanager
def unchecked():
    """For tests of the library's own errors, and for stand-ins of networks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
