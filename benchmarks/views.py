"""Images a second through FRA's two views: ours, jitted, beside Pillow and NumPy in one process on the same machine.

python -m benchmarks.views

One line for the paper's run (224 px from 256 px) and one for the demo's (64 px). A rate counts images of which both
views were made: in a second of wall time, best of a few runs, where ours uses every core that JAX sees and Pillow one;
and in a second of processor time summed over the cores, which says less of what else the machine is doing.
"""

import math
import time

import jax
import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from experiments import fra_r50
from facejax.data import views

_REPEATS = 5


def pillow_view(rng, image, *, size, mean, std, view):
    """One view of a PIL image, as a float32 array, by the recipe of a config."""
    image = image.crop(draw_box(rng, image.size, view["crop_scale"])).resize((size, size), Image.Resampling.BILINEAR)
    if rng.random() < view["flip"]:
        image = ImageOps.mirror(image)
    if rng.random() < view["jitter_probability"]:
        brightness, contrast, saturation, hue = view["jitter"]
        steps = [
            lambda image: ImageEnhance.Brightness(image).enhance(rng.uniform(1 - brightness, 1 + brightness)),
            lambda image: ImageEnhance.Contrast(image).enhance(rng.uniform(1 - contrast, 1 + contrast)),
            lambda image: ImageEnhance.Color(image).enhance(rng.uniform(1 - saturation, 1 + saturation)),
            lambda image: turn_hue(image, rng.uniform(-hue, hue)),
        ]
        for step in rng.permutation(4):
            image = steps[step](image)
    if rng.random() < view["grey_probability"]:
        image = image.convert("L").convert("RGB")
    if rng.random() < view["blur_probability"]:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(*view["blur_radius"])))
    if rng.random() < view["solarize_probability"]:
        image = ImageOps.solarize(image, 128)
    return (np.asarray(image, np.float32) / 255 - np.float32(mean)) / np.float32(std)


def draw_box(rng, size, scale):
    """Left, top, right, bottom of a random resized crop of a (width, height)."""
    while True:
        area, ratio = size[0] * size[1] * rng.uniform(*scale), math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if width <= size[0] and height <= size[1]:
            left, top = rng.integers(0, size[0] - width + 1), rng.integers(0, size[1] - height + 1)
            return left, top, left + width, top + height


def turn_hue(image, shift):
    """Turn the hue of a PIL image by a share of the circle."""
    hue, saturation, value = image.convert("HSV").split()
    hue = Image.fromarray(np.asarray(hue) + np.array(int(shift * 255)).astype(np.uint8))
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


def best_seconds(run):
    """Least wall and least processor time of a few runs."""
    wall, processor = [], []
    for repeat in range(_REPEATS):
        start = time.perf_counter(), time.process_time()
        run(repeat)
        wall.append(time.perf_counter() - start[0])
        processor.append(time.process_time() - start[1])
    return np.array([min(wall), min(processor)])


def measure(config, batch_size):
    """Compile seconds; images a second of wall and of processor time, ours and Pillow's."""
    recipes = [config.view1.to_dict(), config.view2.to_dict()]
    common = {"size": config.image_size, "mean": config.mean, "std": config.std}
    side = config.data.image_size
    images = np.random.default_rng(0).integers(0, 256, (batch_size, side, side, 3), dtype=np.uint8)
    pictures = [Image.fromarray(image) for image in images]
    sizes = jax.device_put(np.full((batch_size, 2), side, np.int32))
    images = jax.device_put(images)

    def both(key, images, sizes):
        keys = jax.random.split(key)
        return [
            views.make_view(k, images, sizes, views.View(**common, **recipe))
            for k, recipe in zip(keys, recipes, strict=True)
        ]

    start = time.perf_counter()
    compiled = jax.jit(both).lower(jax.random.key(0), images, sizes).compile()
    compile_seconds = time.perf_counter() - start
    keys = jax.random.split(jax.random.key(0), _REPEATS)
    jax.block_until_ready(compiled(keys[0], images, sizes))
    ours = best_seconds(lambda repeat: jax.block_until_ready(compiled(keys[repeat], images, sizes)))

    def on_the_host(repeat):
        rng = np.random.default_rng(repeat)
        for recipe in recipes:
            np.stack([pillow_view(rng, picture, view=recipe, **common) for picture in pictures])

    return compile_seconds, batch_size / ours, batch_size / best_seconds(on_the_host)


def main():
    """Print the table."""
    device = jax.devices()[0]
    print(f"{device.device_kind} ({device.platform}), {len(jax.devices())} device(s)")
    print(f"{'':33} {'wall, images/s':^23} {'processor, images/s':^23}")
    print(f"{'config':14} {'px':>3} {'batch':>5} {'compile':>8}" + 2 * f" {'ours':>8} {'Pillow':>7} {'ratio':>6}")
    for arg, batch_size in ((None, 32), ("demo", 64)):
        config = fra_r50.get_config(arg)
        compile_seconds, ours, pillow = measure(config, batch_size)
        name = "fra_r50" + (f":{arg}" if arg else "")
        rates = "".join(f" {a:8.1f} {b:7.1f} {a / b:6.2f}" for a, b in zip(ours, pillow, strict=True))
        print(f"{name:14} {config.image_size:3} {batch_size:5} {compile_seconds:6.1f} s{rates}")


if __name__ == "__main__":
    main()
