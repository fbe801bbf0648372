"""Short networks for whole modules of tests."""

import pytest
import tiny_experiment


@pytest.fixture(scope="module")
def short_networks():
    """What a module compiles has few blocks; the published networks are tested in tests/models and tests/parity."""
    with pytest.MonkeyPatch.context() as patch:
        tiny_experiment.shorten_networks(patch)
        yield
