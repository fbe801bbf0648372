"""What the pictures of attention show."""

import jax.numpy as jnp
import numpy as np

from facejax.architectures import landmark_pictures


def test_attention_shows_differences_however_small():
    images = jnp.full((2, 8, 8, 3), 100, jnp.uint8)
    attention = jnp.array([[0.25, 0.25, 0.25, 0.26], [0.25, 0.25, 0.25, 0.25]])
    picture = np.asarray(landmark_pictures.attention_map(images, attention)).astype(int)
    redness = picture[..., 0] - picture[..., 2]
    assert redness[0, 0, 0] == 0 and redness[0, -1, -1] > 200  # the last patch is the lower right one
    assert not redness[1].any()  # uniform attention singles nothing out
