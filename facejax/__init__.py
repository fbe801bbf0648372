"""Self-supervised face representation learning in JAX and Flax."""

import sys

from facejax import interruptions

if sys.argv[0] == "-m":  # Python puts it there while it looks for the module of `python -m facejax.main` and the like
    interruptions.guard_command("facejax")

__version__ = "0.1.0"
