"""Classifies faces by their features: the sub-folders of a folder of photos are the classes.

python examples/features_in_scikit_learn.py workdirs/demo photos
"""

import pathlib
import sys

from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import facejax

encoder = facejax.load(sys.argv[1])
photos = sorted(path for path in pathlib.Path(sys.argv[2]).glob("*/*") if path.is_file())
features = encoder.embed(photos)  # float32 [N, D]
labels = [photo.parent.name for photo in photos]

classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
scores = cross_val_score(classifier, features, labels, cv=3)
print(f"accuracy: {scores.mean():.3f} on {len(photos)} photos of {len(set(labels))} classes")
