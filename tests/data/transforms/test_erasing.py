import numpy as np
import pytest
from support.drawing import DRAWS, assert_share, assert_uniform, result, results

from ppcls_compress.data.transforms import parse_transforms
from ppcls_compress.data.transforms.erasing import GridMask

WHITE = np.full((40, 60, 3), 255, np.uint8)
TO_ONE = {"NormalizeImage": {"scale": 1, "mean": 0, "std": 255, "order": ""}}


def box(erased):
    """Top, left, height and width of what is erased, which must be one rectangle; None where nothing is."""
    rows, columns = np.nonzero(erased)
    if not len(rows):
        return None
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert len(rows) == height * width
    return rows.min(), columns.min(), height, width


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("layout", ["hwc", "chw"])
def test_random_erasing_draws_area_aspect_ratio_and_place(log, layout):
    op = {"EPSILON": 0.5, "sl": 0.02, "sh": "1.0/3.0", "r1": 0.3, "attempt": 10, "use_log_aspect": log, "mean": 7}
    ops = [{"RandomErasing": op}] if layout == "hwc" else ["ToCHWImage", {"RandomErasing": op}]
    found = [box((draw == 7).all(axis=2)) for draw in results(*ops, image=WHITE, draws=2 * DRAWS)]
    found = np.array([place for place in found if place is not None]).T
    assert_share(found.shape[1] / (2 * DRAWS), 0.5, 2 * DRAWS)
    top, left, height, width = found
    area, aspect = height * width / 2400, height / width
    assert 0.015 < area.min() < 0.03
    assert 0.3 < area.max() < 0.36
    assert 0.25 < aspect.min() < 0.4
    assert 2.3 < aspect.max() < 3.8
    small = area < 0.1  # larger ones do not fit at every aspect ratio
    assert_share((aspect[small] < 1).mean(), 0.5 if log else 0.7 / (1 / 0.3 - 0.3), int(small.sum()) // 2)
    assert top.min() == left.min() == 0
    assert (top + height).max() == 40
    assert (left + width).max() == 60
    assert height.max() < 40
    assert width.max() < 60


@pytest.mark.parametrize("mode", ["pixel", "rand"])
def test_random_erasing_paints_with_noise(mode):
    op = {"RandomErasing": {"EPSILON": 1.0, "mode": mode, "sl": 0.2, "sh": 0.3}}
    found = []
    for draw in results(TO_ONE, op, image=WHITE, draws=200):
        erased = (draw != 1).all(axis=2)
        top, left, height, width = box(erased)
        part = draw[top : top + height, left : left + width]
        if mode == "rand":
            assert (part == part[0, 0]).all()
            found.extend(part[0, 0])
        else:
            found.extend(part.ravel())
    assert abs(np.mean(found)) < 5 / np.sqrt(len(found))
    assert abs(np.std(found) - 1) < 5 / np.sqrt(2 * len(found))


def test_random_erasing_paints_each_channel_with_its_mean():
    op = {"RandomErasing": {"EPSILON": 1, "mean": [1, 2, 3]}}
    draw = result(op, image=WHITE)
    assert {tuple(pixel) for pixel in draw.reshape(-1, 3)} == {(255, 255, 255), (1, 2, 3)}


def test_random_erasing_leaves_the_channel_of_zeros():
    ops = [{"NormalizeImage": {"order": "", "channel_num": 4}}, {"RandomErasing": {"EPSILON": 1, "mode": "pixel"}}]
    assert all(
        not draw[..., 3].any() and len(np.unique(draw[..., 0])) > 1 for draw in results(*ops, image=WHITE, draws=9)
    )


@pytest.mark.parametrize(
    ("op", "text"),
    [
        ({"mode": "pixel"}, "8-bit pixels cannot hold; normalise the image before"),
        ({"sl": 0.5, "sh": 0.2}, "0.5, which is more than sh: 0.2"),
        ({"mean": [1, 2]}, "found 2 numbers"),
    ],
)
def test_erasing_that_cannot_work_is_refused(op, text):
    with pytest.raises(ValueError, match=text):
        parse_transforms(["DecodeImage", {"RandomErasing": op}])


def test_the_given_image_is_not_written_to():
    image = np.full((30, 30, 3), 255, np.uint8)
    for op in ({"RandomErasing": {"EPSILON": 1}}, {"Cutout": {"length": 9}}, "HideAndSeek"):
        list(results(op, image=image, draws=5))
        assert (image == 255).all()


def test_cutout_is_a_square_around_a_centre_cut_off_at_the_border():
    centres = []
    for draw in results({"Cutout": {"length": 12}}, image=WHITE):
        top, left, height, width = box((draw == 0).all(axis=2))
        assert 6 <= height <= 12
        assert 6 <= width <= 12
        centres.append((top + 6 if height == 12 or top else height - 6, left + 6 if width == 12 or left else width - 6))
    assert_uniform([row for row, _ in centres], 0, 39)
    assert_uniform([column for _, column in centres], 0, 59)


def test_cutout_without_a_colour_draws_one_for_each_hole():
    colours = set()
    for draw in results({"Cutout": {"length": 40, "fill_value": "none", "n_holes": 2}}, image=WHITE, draws=200):
        found = {tuple(pixel) for pixel in draw.reshape(-1, 3)} - {(255, 255, 255)}
        assert 1 <= len(found) <= 2
        colours |= found
    assert_uniform([value for colour in colours for value in colour], 0, 255)
    with pytest.raises(ValueError, match="draws an 8-bit colour, and NormalizeImage comes before"):
        parse_transforms(["DecodeImage", TO_ONE, {"Cutout": {"fill_value": None}}])


@pytest.mark.parametrize("layout", ["hwc", "chw"])
def test_hide_and_seek_erases_half_of_the_squares(layout):
    image = np.full((112, 112, 3), 255, np.uint8)
    ops = ["ToCHWImage", "HideAndSeek"] if layout == "chw" else ["HideAndSeek"]
    hidden, sides = [], []
    for draw in results(*ops, image=image, draws=400):
        kept = draw[..., 0] == 255
        assert (draw == np.where(kept, 255, 0)[:, :, None]).all()
        changes = np.flatnonzero((kept[:, 1:] != kept[:, :-1]).any(axis=0)) + 1
        side = next((side for side in (56, 44, 32, 16) if len(changes) and not (changes % side).any()), 0)
        assert side or not len(changes)
        sides.append(side)
        hidden.append(1 - kept.mean())
    for side in (16, 32, 44, 56):
        assert abs(np.mean(np.array(sides) == side) - 0.2) < 0.12  # now and then two squares look like another size
    assert abs(np.mean(hidden) - 0.8 * 0.5) < 0.05


@pytest.mark.parametrize("mode", [0, 1])
def test_grid_mask_keeps_squares_or_what_is_between(mode):
    options = {"d1": 10, "d2": 11, "ratio": 0.6, "mode": mode}
    image = np.full((40, 60, 3), 255, np.uint8)
    offsets = set()
    for seed in range(100):
        grid = GridMask(**options).step(None)(image, np.random.default_rng(seed))[..., 0] == 255
        kept = grid if mode == 0 else ~grid
        rows, columns = kept.any(axis=1), kept.any(axis=0)
        np.testing.assert_array_equal(kept, rows[:, None] & columns[None])
        assert rows.sum() == 16  # four of ten rows in each of four distances
        assert columns.sum() == 24
        offsets.add((int(np.flatnonzero(rows)[0]), int(np.flatnonzero(columns)[0])))
    assert len(offsets) > 30


def test_grid_mask_grows_likelier_over_240_epochs():
    assert [GridMask(prob=0.8).at(epoch, 300).prob for epoch in (0, 60, 240, 299)] == [0, 0.2, 0.8, 0.8]
    step = GridMask(d1=4, d2=9).at(60, 300).step(None)
    image = np.full((20, 20, 3), 255, np.uint8)
    changed = [not (step(image, np.random.default_rng(seed)) == 255).all() for seed in range(DRAWS)]
    assert_share(np.mean(changed), 0.25)
    with pytest.raises(ValueError, match="not above d1: 96"):
        parse_transforms(["DecodeImage", {"GridMask": {"d2": 96}}])


def test_grid_mask_turns_the_grid():
    options = {"d1": 10, "d2": 11, "rotate": 90}
    image = np.full((40, 60, 3), 255, np.uint8)
    slanted = 0
    for seed in range(50):
        kept = GridMask(**options).step(None)(image, np.random.default_rng(seed))[..., 0] == 255
        slanted += not np.array_equal(kept, kept.any(axis=1)[:, None] & kept.any(axis=0)[None])
    assert slanted > 40
