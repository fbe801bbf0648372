"""AdamW with the additions of DINO and layer-wise fine-tuning, built from optax's parts."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax

from facejax.optimizers import by_part
from facejax.sharding import path_name


def clip_each(max_norm: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Scales the gradient of each parameter by max_norm / (norm + 1e-6), if that factor is below 1."""

    def clip(gradient):
        norm = jnp.linalg.norm(gradient.astype(jnp.promote_types(gradient.dtype, jnp.float32)))
        return gradient * jnp.minimum(1, max_norm / (norm + 1e-6)).astype(gradient.dtype)

    return optax.stateless(lambda updates, _: jax.tree.map(clip, updates))


def matrices(params):
    """Which parameters are decayed, as a pytree of bools: all except biases and other vectors."""
    return jax.tree.map(lambda param: param.ndim > 1, params)


def dino_adamw(
    learning_rate: optax.Schedule,
    *,
    weight_decay: optax.Schedule,
    max_norm: float,
    frozen: Callable[[str], bool],
    frozen_steps: int,
) -> optax.GradientTransformation:
    """AdamW on gradients clipped parameter by parameter, with some parameters released later (arXiv:2104.14294).

    Until its release a frozen parameter has no decay, no moments and no step count, so its bias correction starts then.
    Rate and decay are functions of the number of all steps.

    Args:
      learning_rate: schedule over the steps.
      weight_decay: schedule over the steps; vectors are not decayed.
      max_norm: largest norm of the gradient of each parameter.
      frozen: whether the parameter at a path such as `head/last_layer` is frozen initially.
      frozen_steps: number of steps until its release.

    Examples:
      >>> constant = optax.constant_schedule
      >>> optimizer = dino_adamw(
      ...     constant(0.1), weight_decay=constant(0.0), max_norm=3.0, frozen=lambda p: p == "last", frozen_steps=1
      ... )
      >>> params = {"first": jnp.ones((1, 1)), "last": jnp.ones((1, 1))}
      >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
      >>> {name: round(float(update[0, 0]), 2) for name, update in updates.items()}
      {'first': -0.1, 'last': 0.0}
    """

    def adamw(start: int):
        return optax.adamw(
            lambda count: learning_rate(count + start),
            weight_decay=lambda count: weight_decay(count + start),
            mask=matrices,
        )

    def group(path, _):
        return "late" if frozen(path_name(path)) else "early"

    late = optax.transforms.conditionally_mask(adamw(frozen_steps), lambda step: step >= frozen_steps)
    return optax.chain(
        clip_each(max_norm),
        optax.partition(
            {"early": adamw(0), "late": late}, lambda params: jax.tree_util.tree_map_with_path(group, params)
        ),
    )


def grouped_adamw(
    learning_rate: optax.ScalarOrSchedule, group: Callable[[str, jax.Array], tuple[float, float]]
) -> optax.GradientTransformation:
    """AdamW in which each parameter has its own factor on the learning rate and its own weight decay.

    Args:
      learning_rate: rate, or a schedule over the steps.
      group: `(path, parameter) -> (factor, weight decay)` for paths such as `transformer/block0/norm1/scale`.
    """

    def decay_and_scale(path, update, param):
        scale, decay = group(path_name(path), param)
        return scale * (update + decay * param)

    return optax.chain(
        optax.scale_by_adam(),
        optax.stateless(lambda updates, params: jax.tree_util.tree_map_with_path(decay_and_scale, updates, params)),
        optax.scale_by_learning_rate(learning_rate),
    )


def adamw_by_part(
    learning_rates: Mapping[str, optax.ScalarOrSchedule], *, weight_decay: float
) -> optax.GradientTransformation:
    """AdamW in which each part of the parameters has its own rate; everything is decayed, including biases and norms.

    FRA fine-tunes with it; the parts are backbone and head.

    Args:
      learning_rates: rates, or schedules over the steps, by part, see `by_part`; a part without one does not change.
      weight_decay: decoupled decay.

    Examples:
      >>> optimizer = adamw_by_part({"backbone": 0.1, "head": 0.2}, weight_decay=0.5)
      >>> params = {"backbone": jnp.ones(1), "head": jnp.ones(1)}
      >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
      >>> {part: round(float(update[0]), 2) for part, update in updates.items()}
      {'backbone': -0.15, 'head': -0.3}
    """
    return by_part({part: optax.adamw(rate, weight_decay=weight_decay) for part, rate in learning_rates.items()})
