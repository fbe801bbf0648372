"""Pictures of landmarks: the points, the patches around them, and the attention of the class token."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np

from facejax.models import patches
from facejax.pictures import Caption, enlarge

ZOOM = 3  # pixels of the picture per pixel of the image
QUIET, LOUD = (40.0, 40.0, 40.0), (255.0, 40.0, 0.0)  # the patches with least and most attention
FOLLOWED = 9  # number of points drawn large, to compare them over faces


# Explanations of the pictures of `draw` and `attention_map`.
CAPTIONS = {
    "landmarks": Caption("the landmarks, each in its own colour, the same on every face"),
    "followed": Caption("a few of the landmarks, drawn large"),
    "patches": Caption("the patches around the landmarks, as the network sees them"),
    "attention": Caption("attention of the class token: redder is more", legend=(("most", LOUD),)),
}


def draw(images, points, tokens, attention, *, patch_size: int, geometry: str) -> dict[str, jax.Array]:
    """Pictures of faces with their landmarks, uint8 [N, H, W, 3] each; point k has the same colour on every face.

    Args:
      images: uint8 [N, S, S, 3].
      points: (x, y) in pixels, [N, P, 2].
      tokens: the patches as the network sees them, in [-1, 1]: [N, P, patch_size^2 3].
      attention: of the class token to each patch, [N, P], of any scale.
      patch_size: side of a patch.
      geometry: of the patches, a key of `facejax.models.patches.GEOMETRIES`.

    Returns:
      `landmarks`, all points; `followed`, a few points drawn large; `patches`, the mosaic of the patches; `attention`,
      the points again, brighter and redder with more attention of the class token.
    """
    count = points.shape[1]
    chosen = np.linspace(0, count - 1, min(FOLLOWED, count)).astype(int)
    side = int(count**0.5)
    mosaic = patches.mosaic(tokens[:, : side * side], size=patch_size, geometry=geometry)
    return {
        "landmarks": points_of(images, points),
        "followed": _dots(
            images,
            points[:, chosen],
            jnp.broadcast_to(_hues(len(chosen)), (len(images), len(chosen), 3)),
            radius=3.0,
        ),
        "patches": enlarge(_as_picture((mosaic + 1) * 127.5), ZOOM),
        "attention": _dots(images, points, _heat(attention), radius=2.0),
    }


def points_of(images, points, *, zoom: int = ZOOM) -> jax.Array:
    """Faces, `zoom` times as large, with landmarks (see `draw`): uint8 [N, H, W, 3]; a point has one colour on all."""
    hues = _hues(points.shape[1])
    return _dots(images, points, jnp.broadcast_to(hues, (len(images), *hues.shape)), radius=3 / zoom, zoom=zoom)


def attention_map(images, attention) -> jax.Array:
    """uint8 images [N, S, S, 3] in grey and enlarged, with the attention of the class token on a grid [N, P] in red."""
    side = int(attention.shape[1] ** 0.5)
    grid = _strength(attention).reshape(-1, side, side)
    strength = jax.image.resize(grid, (len(images), *images.shape[1:3]), "bilinear")[..., None]
    grey = _grey(images)
    return enlarge(_as_picture(grey * (1 - strength) + strength * jnp.array(LOUD)), ZOOM)


def _hues(count: int) -> np.ndarray:
    return np.array([colorsys.hsv_to_rgb(index / count, 1.0, 1.0) for index in range(count)], np.float32) * 255


def _strength(attention):
    """0 for the patch of an image with least attention, 1 for the most; 0 if attention is uniform."""
    low, high = attention.min(-1, keepdims=True), attention.max(-1, keepdims=True)
    return (attention - low) / jnp.maximum(high - low, 1e-12)


def _heat(attention):
    share = _strength(attention)[..., None]
    return share * jnp.array(LOUD) + (1 - share) * jnp.array(QUIET)


def _dots(images, points, colors, *, radius: float, zoom: int = ZOOM):
    """Discs with soft rims on the enlarged images; where discs overlap, the nearest centre wins."""
    size = zoom * images.shape[1]
    centre = (jnp.arange(size) + 0.5) / zoom - 0.5  # of the picture's pixels, in pixels of the image
    canvas = enlarge(_grey(images), zoom)

    def one(arguments):
        canvas, points, colors = arguments
        squared = jnp.square(centre[None, :, None] - points[:, 0]) + jnp.square(centre[:, None, None] - points[:, 1])
        nearest = squared.argmin(-1)
        distance = jnp.sqrt(squared.min(-1))
        cover = jnp.clip((radius - distance) * zoom + 0.5, 0, 1)[..., None]
        return canvas * (1 - cover) + cover * colors[nearest]

    return _as_picture(jax.lax.map(one, (canvas, points, colors)))


def _grey(images):
    grey = images.astype(jnp.float32) @ jnp.array([0.299, 0.587, 0.114])
    return jnp.repeat(grey[..., None], 3, -1)


def _as_picture(floats):
    return jnp.round(floats).clip(0, 255).astype(jnp.uint8)
