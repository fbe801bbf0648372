"""LARS as the self-supervised methods use it, from optax's parts, and the rules for what it leaves out."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from facejax.errors import UserError


def _path(key_path) -> str:
    return jax.tree_util.keystr(key_path, simple=True, separator="/")


def official(path: str) -> bool:
    """Rule of the official FRA code: backbone norms and every bias, but not the norm scales elsewhere.

    There the test is whether a PyTorch name contains `bn`, `downsample.1` or `bias`; our paths answer alike, since
    only the norms of the backbone have `bn` in their names.
    """
    return "bn" in path or "bias" in path


def bias_and_norm(path: str) -> bool:
    """The rule as LARS is usually described: every bias and every norm scale."""
    return path.endswith(("bias", "scale"))


EXCLUSIONS = {"official": official, "bias_and_norm": bias_and_norm}


def excluded(params: Any, rule: str) -> Any:
    """Which leaves of `params` take the plain learning rate without decay: a pytree of bools.

    Args:
      params: pytree of parameters.
      rule: a key of `EXCLUSIONS`.

    Raises:
      UserError: the rule is unknown.
    """
    if rule not in EXCLUSIONS:
        raise UserError(f"config.optimizer.exclude: unknown rule {rule!r}; known are {', '.join(sorted(EXCLUSIONS))}")
    return jax.tree_util.tree_map_with_path(lambda path, _: EXCLUSIONS[rule](_path(path)), params)


def scale_by_lars(weight_decay: float, trust_coefficient: float = 1e-3, eps: float = 1e-8):
    """Decays and rescales each update: (g + wd w) * coefficient |w| / (|g| + wd |w| + eps), norms over the leaf.

    `optax.scale_by_trust_ratio` after `optax.add_decayed_weights` divides by |g + wd w|; You et al. 2017
    (arXiv:1708.03888, algorithm 1) divide by |g| + wd |w|, as here.
    """

    def rescale(grad, weight):
        weight_norm = jnp.linalg.norm(weight)
        ratio = trust_coefficient * weight_norm / (jnp.linalg.norm(grad) + weight_decay * weight_norm + eps)
        return ratio * (grad + weight_decay * weight)

    return optax.stateless(lambda updates, params: jax.tree.map(rescale, updates, params))


def lars(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: float = 0.9,
    weight_decay: float = 1e-6,
    trust_coefficient: float = 1e-3,
    exclude: str = "official",
) -> optax.GradientTransformation:
    """Layer-wise adaptive rate scaling; the momentum buffer sums steps that contain the learning rate.

    Args:
      learning_rate: rate, or a schedule of the step.
      momentum: decay of the momentum buffer.
      weight_decay: L2 decay, for adapted parameters only.
      trust_coefficient: eta of the paper.
      exclude: key of `EXCLUSIONS`; parameters under it get `learning_rate * g`, without decay.

    Example:
      >>> optimizer = lars(0.1, exclude="bias_and_norm")
      >>> state = optimizer.init({"kernel": jnp.ones((2, 2)), "bias": jnp.zeros(2)})
    """
    return optax.chain(
        optax.masked(
            scale_by_lars(weight_decay, trust_coefficient),
            lambda params: jax.tree.map(lambda out: not out, excluded(params, exclude)),
        ),
        optax.scale_by_learning_rate(learning_rate),
        optax.trace(momentum),
    )
