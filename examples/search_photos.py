"""Finds the faces in a folder that are nearest to one.

python examples/search_photos.py workdirs/demo photos me.jpg
"""

import pathlib
import sys

import numpy as np

import facejax

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")

encoder = facejax.load(sys.argv[1])
photos = sorted(path for path in pathlib.Path(sys.argv[2]).rglob("*") if path.suffix.lower() in SUFFIXES)
features = encoder.embed([*photos, sys.argv[3]], flip=True)
features /= np.linalg.norm(features, axis=1, keepdims=True)

cosines = features[:-1] @ features[-1]
for index in np.argsort(-cosines)[:5]:
    print(f"{cosines[index]:.3f}  {photos[index]}")
