"""Optimizers beyond optax, built from its parts: LARS with exclusion rules, Adam for losses that alternate."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from facejax.errors import UserError
from facejax.sharding import path_name


def official(path: str) -> bool:
    """Rule of the official FRA code: backbone norms and every bias, but not the norm scales elsewhere.

    There the test is whether a PyTorch name contains `bn`, `downsample.1` or `bias`; our paths give the same result,
    since only the norms of the backbone have `bn` in their names.
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
    return jax.tree_util.tree_map_with_path(lambda path, _: EXCLUSIONS[rule](path_name(path)), params)


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
      learning_rate: rate, or a schedule over the steps.
      momentum: decay of the momentum buffer.
      weight_decay: L2 decay, for adapted parameters only.
      trust_coefficient: eta of the paper.
      exclude: a key of `EXCLUSIONS`; excluded parameters get `learning_rate * g`, without decay.

    Examples:
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


def by_part(optimizers: Mapping[str, optax.GradientTransformation]) -> optax.GradientTransformation:
    """An optimizer for each part of the parameters, an entry of their outermost dict; other parts do not change.

    Raises:
      ValueError: the parameters lack a part, at `init` and `update`.

    Examples:
      >>> optimizer = by_part({"head": optax.sgd(0.1)})
      >>> params = {"backbone": jnp.ones(1), "head": jnp.ones(1)}
      >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
      >>> {part: round(float(update[0]), 1) for part, update in updates.items()}
      {'backbone': 0.0, 'head': -0.1}
    """

    def labels(params):
        if missing := optimizers.keys() - params.keys():
            raise ValueError(f"the parameters have no part {min(missing)}, only {', '.join(sorted(params))}")
        return {part: part if part in optimizers else "frozen" for part in params}

    return optax.partition({**optimizers, "frozen": optax.set_to_zero()}, labels)


WITHOUT_GRADIENT = ("skip", "decay")


@dataclasses.dataclass(frozen=True)
class PartwiseAdam:
    """Adam for alternating losses, each of which has gradients for some parts of the parameters only.

    The parts are the entries of the parameters' outermost dict. Each has its own moments and step count, as in
    one PyTorch Adam over all of them. Decay is added to the gradient (Kingma & Ba, arXiv:1412.6980, with L2), not
    decoupled.

    Attributes:
      weight_decay: L2 decay.
      b1: decay of the first moment.
      b2: decay of the second moment.
      eps: added to the root of the second moment.
      without_gradient: what happens to a part without a gradient in a step: "skip" leaves it, its moments and its count
        unchanged (PyTorch 2); "decay" treats its gradient as zero once it has had one (PyTorch 1, where `zero_grad`
        fills in zeros), so momentum and decay still change it.

    Examples:
      >>> params = {"trunk": jnp.ones(2), "head": jnp.ones(2)}
      >>> optimizer = PartwiseAdam(weight_decay=1e-3)
      >>> state = optimizer.init(params)
      >>> params, state = optimizer.update({"trunk": jnp.ones(2)}, state, params, learning_rate=0.1)
      >>> [round(float(params[part][0]), 3) for part in ("trunk", "head")]
      [0.9, 1.0]
    """

    weight_decay: float = 0.0
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    without_gradient: str = "skip"

    def __post_init__(self):
        if self.without_gradient not in WITHOUT_GRADIENT:
            raise UserError(
                f"config.optimizer.without_gradient: {self.without_gradient!r} is neither of {WITHOUT_GRADIENT}"
            )

    @property
    def _rule(self) -> optax.GradientTransformation:
        return optax.chain(
            optax.add_decayed_weights(self.weight_decay), optax.scale_by_adam(self.b1, self.b2, self.eps)
        )

    def init(self, params: dict[str, Any]) -> dict[str, Any]:
        """State of each part."""
        return {part: self._rule.init(tree) for part, tree in params.items()}

    def update(self, gradients: dict[str, Any], state: dict[str, Any], params: dict[str, Any], learning_rate):
        """One step.

        Args:
          gradients: of some of the parts.
          state: from `init` or the previous update.
          params: all parts.
          learning_rate: a scalar.

        Returns:
          `(params, state)`.
        """
        params, state = dict(params), dict(state)
        for part in params if self.without_gradient == "decay" else gradients:
            old = params[part], state[part]
            gradient = gradients.get(part, jax.tree.map(jnp.zeros_like, old[0]))
            direction, moved = self._rule.update(gradient, old[1], old[0])
            new = jax.tree.map(lambda p, d: p - learning_rate * d, old[0], direction), moved
            if part not in gradients:
                begun = optax.tree.get(old[1], "count") > 0
                new = jax.tree.map(lambda n, o, begun=begun: jnp.where(begun, n, o), new, old)
            params[part], state[part] = new
        return params, state
