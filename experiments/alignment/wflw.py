"""98 landmarks of WFLW and its six subsets by STAR's stacked hourglass, the official run; all else as in w300.py.

    python -m data_prep.wflw --source=WFLW --out=datasets/wflw --square=2 --size=512
    python -m facejax.main --config=experiments/alignment/wflw.py --workdir=workdirs/wflw

    python -m facejax.main --config=experiments/alignment/wflw.py:deconvolution --workdir=workdirs/wflw_fra \
        --config.initialize_from=workdirs/fra_r50

puts deconvolutions on an encoder.

    python -m facejax.main --config=experiments/alignment/wflw.py:demo --workdir=workdirs/wflw_demo
    python -m facejax.main --config=experiments/alignment/wflw.py:deconvolution_demo --workdir=workdirs/wflw_fra_demo \
        --config.initialize_from=workdirs/demo

are the same on synthetic faces, whose points are 300W's 68.

Result to expect, from the name of the official weights: a normalised mean error of 4.02 %, 2.32 % failures (above
10 %), an area under the curve of 0.605; on an encoder, a third party lists PCL with 4.84 %.
"""

from experiments.alignment import w300

SUBSETS = ("pose", "expression", "illumination", "makeup", "occlusion", "blur")


def get_config(arg=None):
    """The config; `arg` as for w300.py."""
    config = w300.get_config(arg)
    if arg and "demo" in arg:
        return config
    config.data.folder = "datasets/wflw"
    config.landmarks.points = "wflw"
    config.evaluate_every_steps = 10 * (7500 // 128)
    config.evaluations.landmarks.update(data="datasets/wflw", thresholds=(0.1,), subset="subsets", subset_names=SUBSETS)
    return config
