"""CALFW: 6 000 pairs of the same person far apart in age, and of different people.

python -m data_prep.calfw --source=DIR --out=DIR [--images=aligned|original]

--source holds `pairs_CALFW.txt`, and `aligned images` (112 x 112) or the original `images` with their five points in
`CA_landmarks`, for --align. One split, `test`; `data_prep.formats.image_pairs` describes how pairs are stored.
"""

from data_prep import conversion
from data_prep.formats import cross_lfw

DATASET = cross_lfw.dataset(
    "ca",
    homepage="http://whdeng.cn/CALFW/",
    citation="Zheng et al., Cross-Age LFW, arXiv 1708.08197, 2017",
)

if __name__ == "__main__":
    conversion.main(DATASET)
