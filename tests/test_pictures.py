import cv2
import jax
import numpy as np
import pytest
from PIL import Image
from random_inputs import generator

from facejax import pictures
from facejax.errors import UserError


def images(num, height=24, width=20):
    return generator().integers(0, 256, (num, height, width, 3), np.uint8)


def test_a_sheet_holds_every_image_where_it_belongs():
    first, second, small = images(3), images(1), images(1, 10, 12)
    page = pictures.sheet([first, [second[0], small[0]]], gutter=3)
    assert page.shape == (3 + 2 * 27, 3 + 3 * 23, 3) and page.dtype == np.uint8
    for column in range(3):
        np.testing.assert_array_equal(page[3:27, 3 + 23 * column : 23 + 23 * column], first[column])
    np.testing.assert_array_equal(page[30:54, 3:23], second[0])
    np.testing.assert_array_equal(page[37:47, 30:42], small[0])  # in the middle of its cell
    assert (page[30:54, 49:] == 255).all() and (page[:3] == 255).all()


def test_captions_stand_under_their_images_and_inside_their_cells():
    row = images(2, 40, 40)
    plain, captioned = pictures.sheet([row]), pictures.sheet([row], captions=[["one", "a text far too long for it"]])
    extra = captioned.shape[0] - plain.shape[0]
    assert extra > 8
    np.testing.assert_array_equal(captioned[:44], plain[:44])
    strip = captioned[44 : 44 + extra]
    assert (strip[:, 4:44] < 128).any() and (strip[:, 48:88] < 128).any()
    assert (strip[:, 45:47] == 255).all() and (strip[:, 89:] == 255).all()


def pixels(page, color):
    return (page == np.array(color)).all(-1)


def test_long_texts_are_wrapped_and_never_cut():
    row = images(2, 60, 60)
    short, long = (pictures.sheet([row], captions=[["one", text]]) for text in ("two", "one two three four five six"))
    assert long.shape[0] > short.shape[0] and long.shape[1] == short.shape[1]
    font = pictures.ImageFont.load_default(10)
    for text in ("one two three four five six", "Donaudampfschifffahrtsgesellschaft a bc", "w"):
        lines = pictures._wrapped(text, font, 60)
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
        assert all(font.getlength(line) <= 60 for line in lines)


def test_labels_stand_once_over_each_row_and_columns_once_over_all():
    rows = [np.full((3, 40, 40, 3), 200, np.uint8)] * 2
    plain, labelled = pictures.sheet(rows), pictures.sheet(rows, labels=["first", "second"])
    line = (len(labelled) - len(plain)) // 2
    first, second = labelled[4 : 4 + line], labelled[4 + line + 44 : 4 + 2 * line + 44]
    for strip in (first, second):
        assert (strip[:, :48] < 128).any() and (strip[:, 92:] == 255).all()  # at the left, and nowhere else
    np.testing.assert_array_equal(labelled[4 + line : 48 + line], plain[4:48])
    headed = pictures.sheet(rows, columns=["a", "b", "c"])
    assert len(headed) == len(plain) + line
    assert all((headed[4 : 4 + line, left : left + 40] < 128).any() for left in (4, 48, 92))
    np.testing.assert_array_equal(headed[4 + line :], plain[4:])


def test_a_legend_shows_every_colour_beside_its_name():
    colors = pictures.region_colors(8)
    legend = [(f"region {i}", tuple(color)) for i, color in enumerate(colors)]
    page = pictures.sheet([images(2, 96, 96) // 2], legend=legend)
    foot = page[4 + 96 + 4 :]
    for color in colors[:7]:  # grey is in the letters too
        square = pixels(foot, color.astype(np.uint8))
        assert square.sum() == square.any(1).sum() * square.any(0).sum() > 80
    assert (foot[:, -4:] == 255).all()


def test_small_images_are_enlarged_by_whole_numbers():
    small, large = images(1, 16, 16), images(1, 48, 48)
    for row, enlarged in zip((small, large), pictures.legible([small, large]), strict=True):
        factor = enlarged.shape[1] // row.shape[1]
        assert enlarged.shape[1] == 96
        np.testing.assert_array_equal(enlarged[:, ::factor, ::factor], row)
    assert [row.shape[1] for row in pictures.legible([images(1, 112, 112), images(1, 60, 60)])] == [112, 120]


def test_what_cannot_stand_on_a_sheet_is_refused():
    with pytest.raises(ValueError, match="at least one image"):
        pictures.sheet([[]])
    with pytest.raises(ValueError, match="uint8"):
        pictures.sheet([[np.zeros((4, 4, 3))]])
    with pytest.raises(ValueError, match="as many captions"):
        pictures.sheet([images(2)], captions=[["one"]])
    with pytest.raises(ValueError, match="as many labels"):
        pictures.sheet([images(2)], labels=["one", "two"])
    with pytest.raises(ValueError, match="over its columns"):
        pictures.sheet([images(2)], columns=["one"])


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit])
def test_overlays_show_the_surest_region_over_the_image(transform):
    faces = images(2)
    heatmaps = generator().random((2, 5, 4, 3)).astype("f4") ** 4
    got = np.asarray(transform(pictures.overlay_regions)(faces, heatmaps)).astype(int)
    colors = pictures.region_colors(5)
    for n in range(2):
        large = np.stack([cv2.resize(h, (20, 24), interpolation=cv2.INTER_LINEAR) for h in heatmaps[n]]).astype(float)
        share = large.max(0) / large.sum(0)
        alpha = (pictures.OPACITY * (share - 0.2) / 0.8)[..., None]
        expected = (1 - alpha) * faces[n] + alpha * colors[large.argmax(0)]
        off = np.abs(got[n] - expected).max(-1) > 1
        assert off.mean() < 0.01  # one or two pixels where two regions are equal but for rounding


def test_no_preference_leaves_the_image_and_certainty_colours_it():
    faces = images(1)
    np.testing.assert_array_equal(pictures.overlay_regions(faces, np.full((1, 8, 3, 3), 0.125)), faces)
    np.testing.assert_array_equal(pictures.overlay_regions(faces, np.zeros((1, 8, 3, 3))), faces)
    certain = np.zeros((1, 8, 3, 3))
    certain[:, 4] = 1
    expected = 0.25 * faces + 0.75 * pictures.region_colors(8)[4]
    np.testing.assert_allclose(pictures.overlay_regions(faces, certain), expected, atol=0.51)


def test_colours_differ():
    colors = pictures.region_colors(40)
    assert colors.shape == (40, 3) and len(np.unique(colors.round(), axis=0)) == 40
    np.testing.assert_array_equal(pictures.region_colors(3), colors[:3])


def test_a_png_is_written_whole_and_replaced_whole(tmp_path):
    path = tmp_path / "new" / "face.png"
    for image in images(2):
        pictures.write_png(path, image)
        np.testing.assert_array_equal(np.asarray(Image.open(path)), image)
        assert [file.name for file in path.parent.iterdir()] == ["face.png"]


def test_a_png_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/face.png"):
        pictures.write_png(tmp_path / "file" / "face.png", images(1)[0])
    with pytest.raises(ValueError, match="float64"):
        pictures.write_png(tmp_path / "face.png", np.zeros((4, 4, 3)))
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
