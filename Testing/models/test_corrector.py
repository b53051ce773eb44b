"""What clicks say of a whole box, and what the network that corrects makes of them."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
import torch
from MedSAMSegmentLib.models.box_regions import RegionBatch
from MedSAMSegmentLib.models.coarse import CoarseGrid, CoarseNetwork
from MedSAMSegmentLib.models.corrector import (
    BoxClicks,
    CorrectingNetwork,
    click_maps,
    consistent_regions,
    obeying,
    widest_paths,
)

GRID = CoarseGrid((8, 16, 16))


def clicks(*places: tuple[float, float, float], labels: tuple[int, ...]) -> BoxClicks:
    return BoxClicks(torch.tensor([places]), torch.tensor([labels]))


def two_bodies() -> torch.Tensor:
    """(1, 8, 16, 16): a bright and an equally bright body on dark ground, apart from each other."""
    image = torch.full((1, *GRID.cells), 0.2)
    image[:, 2:6, 3:13, 3:7] = 0.8
    image[:, 2:6, 3:13, 9:13] = 0.8
    return image


LEFT, RIGHT = (0.0, 0.0, -0.45), (0.0, 0.0, 0.45)


def test_a_place_lies_in_the_cell_whose_centre_is_nearest():
    for axis in range(3):
        for number, place in enumerate(GRID.place(axis).tolist()):
            at = [0.0, 0.0, 0.0]
            at[axis] = place
            assert GRID.cells_of(torch.tensor(at))[axis] == number
    assert GRID.cells_of(torch.tensor([-9.0, 9.0, 0.0])).tolist() == [0, 15, 8]


@pytest.mark.parametrize("seed", range(3))
def test_widest_paths_are_those_of_an_exhaustive_search_where_they_turn_seldom(seed: int):
    random = np.random.default_rng(seed)
    width = np.full((5, 7, 6), 0.05)
    width[2, 1:6, 1] = random.uniform(0.5, 1.0, 5)
    width[2, 5, 1:5] = random.uniform(0.5, 1.0, 4)
    width[1:4, 5, 4] = random.uniform(0.5, 1.0, 3)
    start = np.zeros_like(width)
    start[2, 1, 1] = 1.0
    found = widest_paths(torch.from_numpy(start)[None], torch.from_numpy(width)[None])[0].numpy()
    best = np.minimum(start, width)
    queue = [(-best[2, 1, 1], (2, 1, 1))]
    while queue:
        narrow, cell = heapq.heappop(queue)
        for axis in range(3):
            for step in (-1, 1):
                other = list(cell)
                other[axis] += step
                if 0 <= other[axis] < width.shape[axis]:
                    through = min(-narrow, width[tuple(other)])
                    if through > best[tuple(other)]:
                        best[tuple(other)] = through
                        heapq.heappush(queue, (-through, tuple(other)))
    np.testing.assert_allclose(found, best)


def test_maps_tell_the_clicked_body_from_an_equal_one_beside_it():
    # Only the right one was found.
    believed = torch.where((two_bodies() > 0.5) & (torch.arange(16) > 8), 6.0, -6.0)
    maps = click_maps(two_bodies(), believed, clicks(LEFT, RIGHT, labels=(1, 0)), GRID)[0]
    near, far, alike, path, within = maps[:5]
    left, right, ground = (4, 4, 4), (4, 4, 11), (4, 8, 7)
    assert near[4, 8, 5] > 0.99 and near[right] < 0.01 and far[left] > far[right]
    assert alike[left] > 0.99 and alike[right] > 0.99 and alike[ground] < 0.01
    assert path[4, 12, 6] > 0.9 and path[right] < 0.05
    assert maps[8][right] > 0.9 and maps[8][left] < 0.05
    # What was wrong there: the whole mask was, and all that is no mask.
    assert maps[9][right] > 0.5 and maps[9][left] < 0.05 and maps[9][ground] < 0.05
    assert within[left] > 0.5 and within[ground] > 0.5 and within[right] < 0.05
    many = clicks(*[LEFT] * 20, RIGHT, labels=(1,) * 20 + (0,))
    torch.testing.assert_close(click_maps(two_bodies(), believed, many, GRID)[0], maps)
    none = click_maps(two_bodies(), believed, clicks(LEFT, labels=(-1,)), GRID)
    assert not none.any()


def test_only_regions_that_agree_with_every_click_are_told_of():
    masks = torch.zeros(1, 4, *GRID.cells, dtype=torch.bool)
    masks[0, 0, ..., 3:7] = True
    masks[0, 1, ..., 9:13] = True
    masks[0, 2, ..., 3:13] = True
    regions = RegionBatch(masks, torch.zeros(1, 4, 8), torch.tensor([[True, True, True, False]]))

    def kept(given: BoxClicks) -> list[int]:
        return torch.nonzero(consistent_regions(regions, given, GRID).known[0])[:, 0].tolist()

    assert kept(clicks(LEFT, labels=(1,))) == [0, 2]
    assert kept(clicks(LEFT, RIGHT, labels=(1, 0))) == [0]
    assert kept(clicks(RIGHT, labels=(0,))) == [0]
    assert kept(clicks(LEFT, labels=(-1,))) == [0, 1, 2]
    # No region holds both and not what is between: those that hold one of them.
    assert kept(clicks(LEFT, RIGHT, (0.0, 0.0, 0.0), labels=(1, 1, 0))) == [0, 1]


def test_before_it_has_learned_anything_it_looks_as_the_network_that_it_corrects():
    torch.manual_seed(0)
    coarse = CoarseNetwork((8, 16, 16), GRID).eval()
    torch.nn.init.normal_(coarse.head.weight)
    corrector = CorrectingNetwork((8, 16, 16), GRID).eval()
    corrector.load_state_dict(coarse.state_dict(), strict=False)
    image, step = two_bodies(), torch.tensor([0.3])
    regions = coarse.find_regions(image)
    with torch.no_grad():
        believed = coarse(image, step, regions)
        nothing = clicks(LEFT, labels=(-1,))
        torch.testing.assert_close(
            corrector.correct(coarse, image, step, regions, believed, nothing),
            coarse(image, step, regions, believed),
        )
        corrected = corrector.correct(coarse, image, step, regions, believed, clicks(LEFT, RIGHT, labels=(1, 0)))
    assert corrected[0, 4, 8, 4] > believed[0, 4, 8, 4] and corrected[0, 4, 8, 11] < believed[0, 4, 8, 11]


def test_an_answer_that_contradicts_a_click_gives_way():
    image = two_bodies()
    right = (image > 0.5) & (torch.arange(16) > 8)
    left = (image > 0.5) & (torch.arange(16) < 8)
    answer = torch.where(right, 5.0, -5.0)
    # All of the plainly grey body that was clicked on, and nothing else.
    given = obeying(answer, image, answer, clicks(LEFT, labels=(1,)), GRID)
    core = torch.zeros_like(left)
    core[:, 3:5, 4:12, 4:6] = True
    assert (given[core] > 0).all() and not (given > 0)[~left & ~right].any() and (given > 0)[right].all()
    # Where it was clicked on as not of the object, too, both clicks count for what is nearest to them.
    torn = obeying(answer, image, answer, clicks(LEFT, (0.0, 0.5, -0.45), labels=(1, 0)), GRID)
    assert torn[0, 4, 8, 5] > 0 and not torn[0, 4, 10, 5] > 0 and (torn > 0)[left].sum() < left.sum() / 2
    # Outside: only about the click.
    fewer = obeying(answer, image, answer, clicks(RIGHT, labels=(0,)), GRID)
    assert fewer[0, 4, 8, 10] < 0 and (fewer > 0)[right].sum() > right.sum() / 2
    # What agrees already is left alone, to the last bit.
    assert torch.equal(obeying(answer, image, answer, clicks(RIGHT, LEFT, labels=(1, 0)), GRID), answer)
    # A part that stands apart and is clicked on in its middle goes as a whole, unless it was also clicked on as of it.
    both = torch.where(right | left, 5.0, -5.0)
    assert not (obeying(both, image, both, clicks(RIGHT, labels=(0,)), GRID) > 0)[right].any()
    torn = obeying(both, image, both, clicks(RIGHT, (0.0, 0.5, 0.45), labels=(0, 1)), GRID)
    assert (torn > 0)[right].sum() > right.sum() / 2
    # The ground fills most of the box: a click on it is no reason to take it all.
    ground = obeying(answer, image, answer, clicks((0.0, 0.0, 0.0), labels=(1,)), GRID)
    assert ground[0, 4, 8, 8] > 0 and ((ground > 0) & ~right).sum() < 60


def test_a_part_that_is_trimmed_at_its_border_stays():
    grid = CoarseGrid((16, 24, 24))
    answer = torch.full((1, *grid.cells), -5.0)
    answer[:, 3:13, 4:20, 3:10] = 5.0
    answer[:, 3:13, 4:20, 14:21] = 5.0
    image = torch.where(answer > 0, 0.8, 0.2)
    at_border = obeying(answer, image, answer, clicks((0.0, 0.0, 0.25), labels=(0,)), grid)
    assert at_border[0, 8, 12, 14] < 0 < at_border[0, 8, 12, 17]
    in_the_middle = obeying(answer, image, answer, clicks((0.0, 0.0, 0.6), labels=(0,)), grid)
    assert not (in_the_middle[..., 12:] > 0).any() and torch.equal(in_the_middle[..., :12], answer[..., :12])


def test_learning_from_clicks_leaves_the_corrected_network_alone():
    coarse, corrector = CoarseNetwork((8, 16, 16), GRID), CorrectingNetwork((8, 16, 16), GRID)
    torch.nn.init.normal_(corrector.head.weight)
    image, step = two_bodies(), torch.tensor([0.3])
    regions = coarse.find_regions(image)
    believed = coarse(image, step, regions).detach()
    corrector.correct(coarse, image, step, regions, believed, clicks(LEFT, labels=(1,))).sum().backward()
    assert corrector.click_stem.weight.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in coarse.parameters())
