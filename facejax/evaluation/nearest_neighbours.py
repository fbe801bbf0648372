"""k-nearest neighbours by cosine: evaluates a representation without training anything on top of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

QUERY_CHUNK = 1024  # with GALLERY_BLOCK, the largest array of similarities in memory: 64 MiB
GALLERY_BLOCK = 16384


def knn_accuracy(gallery, gallery_labels, queries=None, query_labels=None, *, k: int = 20, **chunks) -> float:
    """Fraction of queries whose k most similar gallery images (cosine) vote for the right label.

    Each neighbour has one vote; among labels with equally many votes the smallest wins. With k = 1 this is the accuracy
    of top-1 retrieval. Without queries the gallery is searched for each of its own images, excluding the image itself
    (leave one out): use this for identities that the training split does not have. Images with a unique label are then
    no queries, since no result could be right.

    Args:
      gallery: [G, D] features.
      gallery_labels: [G] integers.
      queries: [Q, D] features, or None for leave one out.
      query_labels: [Q] integers, or None for leave one out.
      k: neighbours that vote; all if there are fewer.
      **chunks: `query_chunk`, `gallery_block` of `nearest_neighbours`.

    Returns:
      Accuracy in 0..1; NaN without queries.

    Source:
      Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination, CVPR 2018, here with the
      unweighted vote.

    Examples:
      >>> knn_accuracy([[0.0, 1.0], [1.0, 0.0]], [3, 5], [[0.1, 1.0], [2.0, 0.1]], [3, 5], k=1)
      1.0
    """
    right, _ = knn_correct(gallery, gallery_labels, queries, query_labels, k=k, **chunks)
    return float(right.mean()) if len(right) else float("nan")


def knn_correct(
    gallery, gallery_labels, queries=None, query_labels=None, *, k: int = 20, **chunks
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the neighbours' vote is right, bool [n], and for which queries; arguments as for `knn_accuracy`."""
    gallery_labels = np.asarray(gallery_labels)
    predicted = majority_vote(gallery_labels[nearest_neighbours(gallery, queries, k=k, **chunks)])
    if queries is not None:
        return predicted == np.asarray(query_labels), np.arange(len(predicted))
    _, inverse, counts = np.unique(gallery_labels, return_inverse=True, return_counts=True)
    asked = np.flatnonzero(counts[inverse] > 1)
    return (predicted == gallery_labels)[asked], asked


def nearest_neighbours(
    gallery, queries=None, *, k: int, query_chunk=QUERY_CHUNK, gallery_block=GALLERY_BLOCK
) -> np.ndarray:
    """Indices of the k gallery features most similar to each query by cosine.

    Args:
      gallery: [G, D] features.
      queries: [Q, D] features, or None to search with the gallery itself, where no image is its own neighbour.
      k: number of neighbours; all if there are fewer.
      query_chunk: queries compared at once; with `gallery_block` it bounds the memory on the device.
      gallery_block: gallery features compared at once.

    Returns:
      [Q, k] int32, the most similar first; ties in the order of the gallery.
    """
    leave_one_out = queries is None
    gallery = np.asarray(gallery, np.float32)
    queries = gallery if leave_one_out else np.asarray(queries, np.float32)
    size = len(gallery)
    k = min(k, size - leave_one_out)
    query_chunk = min(query_chunk, len(queries))
    gallery_block = max(min(gallery_block, size), k)
    # The whole gallery is on the device, scaled to unit length, in blocks of equal size.
    blocks = np.pad(gallery, ((0, -size % gallery_block), (0, 0))).reshape(-1, gallery_block, gallery.shape[1])
    blocks = _unit_length(jnp.asarray(blocks))

    found = []
    # Starts in steps of the chunk; the last chunk overlaps the previous one, so all have one shape.
    starts = range(0, len(queries), query_chunk)
    for start in starts:
        first = min(start, len(queries) - query_chunk)
        own = np.arange(first, first + query_chunk) if leave_one_out else np.full(query_chunk, -1)
        indices = _search(blocks, queries[first : first + query_chunk], own, size, k=k)
        found.append(np.asarray(indices)[start - first :])
    return np.concatenate(found) if found else np.zeros((0, k), np.int32)


def majority_vote(labels) -> np.ndarray:
    """The most frequent label of each row, the smallest among equally frequent ones: [Q, k] -> [Q] integers.

    Examples:
      >>> majority_vote([[7, 2, 2, 7, 1], [3, 3, 0, 0, 0]])
      array([2, 0])
    """
    labels = np.sort(np.asarray(labels), axis=1)
    votes = np.zeros(labels.shape, np.int32)  # in a sorted row: how often its label occurred so far
    for column in range(labels.shape[1]):
        same = labels[:, column] == labels[:, column - 1] if column else False
        votes[:, column] = np.where(same, votes[:, column - 1], 0) + 1
    # The first of the largest counts belongs to the smallest label, since the row is sorted.
    return labels[np.arange(len(labels)), votes.argmax(1)]


@functools.partial(jax.jit, static_argnames="k")
def _search(blocks, queries, own, size, *, k):
    """The k best of all blocks [B, M, D] for queries [N, D], without `own` [N] and rows from `size` on: [N, k]."""
    block = blocks.shape[1]

    def merge(best, item):
        offset, candidates = item
        similarity = jnp.matmul(queries, candidates.T, precision=jax.lax.Precision.HIGHEST)
        index = offset + jnp.arange(block, dtype=jnp.int32)
        similarity = jnp.where((index >= size) | (index == own[:, None]), -jnp.inf, similarity)
        top, position = jax.lax.top_k(similarity, k)
        # top_k prefers the first of equals: earlier blocks come first, so the result does not depend on the blocks.
        similarity = jnp.concatenate([best[0], top], axis=1)
        index = jnp.concatenate([best[1], index[position]], axis=1)
        top, position = jax.lax.top_k(similarity, k)
        return (top, jnp.take_along_axis(index, position, axis=1)), None

    queries = _unit_length(queries)
    nothing = jnp.full((len(queries), k), -jnp.inf), jnp.zeros((len(queries), k), jnp.int32)
    offsets = jnp.arange(len(blocks), dtype=jnp.int32) * block
    return jax.lax.scan(merge, nothing, (offsets, blocks))[0][1]


def _unit_length(features):
    norms = jnp.linalg.norm(features, axis=-1, keepdims=True)
    return features / jnp.where(norms > 0, norms, 1)
