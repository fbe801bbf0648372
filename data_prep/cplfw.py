"""CPLFW: 6 000 pairs of the same person in different poses, and of different people.

python -m data_prep.cplfw --source=DIR --out=DIR [--images=aligned|original]

--source holds `pairs_CPLFW.txt`, and `aligned images` (112 x 112) or the original `images` with their five points in
`CP_landmarks`, for --align. One split, `test`; `data_prep.formats.image_pairs` describes how pairs are stored.
"""

from data_prep import conversion
from data_prep.formats import cross_lfw

DATASET = cross_lfw.dataset(
    "cp",
    homepage="http://whdeng.cn/CPLFW/",
    citation="Zheng and Deng, Cross-Pose LFW, Beijing University of Posts and Telecommunications 18-01, 2018",
)

if __name__ == "__main__":
    conversion.main(DATASET)
