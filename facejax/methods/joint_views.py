"""Several views of the same images as one batch, and back."""

import jax.numpy as jnp
from jaxtyping import Array, Shaped


def side_by_side(views: Shaped[Array, " V N *rest"]) -> Shaped[Array, " V*N *rest"]:
    """Views [V, N, ...] as one batch [N V, ...], with those of an image together and therefore on the same device."""
    return jnp.swapaxes(views, 0, 1).reshape(-1, *views.shape[2:])


def views_apart(x: Shaped[Array, " M *rest"], num_views: int = 2) -> list[Shaped[Array, " M//{num_views} *rest"]]:
    """The results [N, ...] of each of V views, from [N V, ...] as ordered by `side_by_side`."""
    x = x.reshape(-1, num_views, *x.shape[1:])
    return [x[:, view] for view in range(num_views)]
