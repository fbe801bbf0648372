"""Networks of which little is left to compile."""

import pytest
import tiny_experiment


@pytest.fixture(scope="module")
def short_networks():
    """Shared by a module."""
    with pytest.MonkeyPatch.context() as patch:
        tiny_experiment.shorten_networks(patch)
        yield
