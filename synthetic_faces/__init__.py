"""A renderer of synthetic faces in JAX: people and scenes drawn from a seed, heads as signed distance fields.

    scenes = [synthetic_faces.scene(seed, person, image) for image in range(4)]
    drawn = synthetic_faces.draw(scenes, size=112)

The same scenes give the same pixels everywhere. A scene is a dict whose fields can be changed before it is drawn:
`scene | {"pose": np.array([30, 0, 0])}` is the same face turned by 30 degrees. The package imports nothing of facejax.
"""

from synthetic_faces.appearance import REGIONS
from synthetic_faces.drawing import draw, renderer
from synthetic_faces.examples import Examples, features, split_identities
from synthetic_faces.labels import ATTRIBUTES, attributes
from synthetic_faces.scenes import ACTION_UNITS, EXPRESSIONS, identity, scene

SIZES = (16, 256)  # smallest and largest picture, pixels across

__all__ = [
    "ACTION_UNITS",
    "ATTRIBUTES",
    "EXPRESSIONS",
    "REGIONS",
    "SIZES",
    "Examples",
    "attributes",
    "draw",
    "features",
    "identity",
    "renderer",
    "scene",
    "split_identities",
]
