import jax.numpy as jnp
import pytest

from facejax.errors import UserError
from facejax.finite_loss import FiniteLoss


class ThreeSaved:
    newest, folder = 30, "RUN/checkpoints"

    def wait(self):
        pass


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_loss_that_is_not_finite_is_named_with_its_step_and_the_last_good_checkpoint(bad):
    finite = FiniteLoss(ThreeSaved())
    finite.check_previous(40, jnp.float32(1))
    finite.check_previous(41, jnp.float32(bad))
    with pytest.raises(
        UserError, match=r"step 41 is (nan|inf); the last good checkpoint is step 30 in RUN/checkpoints"
    ):
        finite.check_previous(42, jnp.float32(1))


def test_a_bad_loss_stops_the_save_that_follows_it():
    finite = FiniteLoss(ThreeSaved())
    finite.check_previous(1, jnp.float32(jnp.nan))
    with pytest.raises(UserError, match="step 1"):
        finite.check_now()
