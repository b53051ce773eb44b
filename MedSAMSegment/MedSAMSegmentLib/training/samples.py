"""Training samples: a crop of consecutive slices around a target, its masks, and the box a user would have drawn.

The crop follows inference (`inference/crop.py`): square, the box roughly in the middle with context around it; slices
at the scan's own spacing. Everything is derived from ``Randomness`` alone, so (seed, step, index) fixes a sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .anatomy.scene import AnatomyScene
from .appearance import native_size, render
from .fields import Axes, Randomness
from .scene import Scene


@dataclass(frozen=True)
class SampleOptions:
    """What a batch is made of.

    Args:
        slices: consecutive slices a sample holds (one more is rendered at each end as context of the outer ones).
        size: rows and columns of the crop in pixels.
        jitter: probability that the box is drawn carelessly rather than tightly.
        looks: samples made of one anatomy, which is the costly part; contrast, texture and noise differ.
    """

    slices: int = 1
    size: int = 128
    jitter: float = 0.45
    looks: int = 2


@dataclass(frozen=True)
class Batch:
    """Samples ready for the network; B samples, T slices, S pixels.

    Attributes:
        images: (B, T + 2, S, S) in [0, 1]; slice t of the sample is images[:, t + 1].
        masks: (B, T + 2, S, S) 0 or 1, of the slices that `images` shows.
        box_coordinates: (B, T, 3, S/2, S/2) position of the pixel centres of a half-resolution grid in the box: -1
        and 1
            are its faces (x, y, z of the box's own axes).
        slice_step: (B,) distance of slices over the half-depth of the box.
        inside: (B, T) True where the slice lies between the ends of the box.
        rectangles: (B, T, 4) the box on each slice, (x0, y0, x1, y1) in crop pixels; zeros where the box is absent.
    """

    images: Tensor
    masks: Tensor
    box_coordinates: Tensor
    slice_step: Tensor
    inside: Tensor
    rectangles: Tensor


def _extent_along(level: Tensor, axis: Tensor, dimension: int) -> tuple[float, float] | None:
    """First and last zero crossing of the level function along one axis of the survey grid, to a fraction of a cell."""
    profile = level.amax(dim=tuple(d for d in range(3) if d != dimension))
    inside = torch.nonzero(profile > 0)[:, 0]
    if len(inside) == 0:
        return None
    first, last = int(inside[0]), int(inside[-1])
    step = float(axis[1] - axis[0])
    low, high = float(axis[first]), float(axis[last])
    if first > 0:
        low -= step * float(profile[first] / (profile[first] - profile[first - 1]))
    if last < len(profile) - 1:
        high += step * float(profile[last] / (profile[last] - profile[last + 1]))
    return low, high


def survey(scene: Scene | AnatomyScene, device: torch.device) -> tuple[Tensor, Tensor] | None:
    """Bounding box of the target, (low, high) in the order x, y, z; None if it is too small or leaves the survey."""
    axes = _on(device, scene.survey_axes())
    level = scene.target_level(axes)
    edges = [level[[0, -1]], level[:, [0, -1]], level[:, :, [0, -1]]]
    if int((level > 0).sum()) < 16 or any(bool((edge > 0).any()) for edge in edges):
        return None
    return _bounds(level, axes)


def _on(device: torch.device, axes: Axes) -> Axes:
    return axes[0].to(device), axes[1].to(device), axes[2].to(device)


def _bounds(level: Tensor, axes: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor] | None:
    extents = [_extent_along(level, axes[dimension], dimension) for dimension in (2, 1, 0)]
    if any(extent is None for extent in extents):
        return None
    low, high = torch.tensor(extents).T
    return low, high


def make_samples(randomness: Randomness, options: SampleOptions, device: torch.device) -> list[dict[str, Tensor]]:
    """Samples of one anatomy, ``options.looks`` of them; the keys are the fields of `Batch`."""
    scene, bounds = random_target(randomness, device)
    return _crop(scene, bounds, randomness, options, device)


def random_target(randomness: Randomness, device: torch.device) -> tuple[Scene, tuple[Tensor, Tensor]]:
    """A random anatomy with the bounding box of its target, (low, high) in the order x, y, z."""
    while True:
        scene = Scene.random(randomness)
        bounds = survey(scene, device)
        if bounds is not None and float((bounds[1] - bounds[0]).min()) > 0.12:
            return scene, bounds


def truncate(
    scene: Scene | AnatomyScene, bounds: tuple[Tensor, Tensor], randomness: Randomness, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The scan, or the convention of the label, ends before the object does (a cord, a vessel, a cut organ).

    Returns:
        the bounding box (low, high), order x, y, z, of the part that is left.
    """
    low, high = bounds[0].clone(), bounds[1].clone()
    z_low, z_high = float(low[2]), float(high[2])
    length = z_high - z_low
    if randomness.chance(0.5):
        z_low += length * randomness.uniform(0.1, 0.5)
    else:
        z_high -= length * randomness.uniform(0.1, 0.5)
    if randomness.chance(0.4):
        middle, half = (z_low + z_high) / 2, length * randomness.uniform(0.12, 0.3)
        z_low, z_high = max(z_low, middle - half), min(z_high, middle + half)
    axes = _on(device, scene.survey_axes((z_low, z_high)))
    left = _bounds(scene.target_level(axes), axes)
    if left is not None:
        low, high = left
    low[2], high[2] = z_low, z_high
    return low, high


def _crop(
    scene: Scene, bounds: tuple[Tensor, Tensor], randomness: Randomness, options: SampleOptions, device: torch.device
) -> list[dict[str, Tensor]]:
    truncated = randomness.chance(0.25)
    low, high = truncate(scene, bounds, randomness, device) if truncated else bounds
    scan_ends = truncated and randomness.chance(0.6)

    # Slices: the object covers `depth` of them; the box snaps to their edges as a tight box on voxels does.
    depth = round(randomness.log_uniform(3.0, 40.0)) if randomness.chance(0.93) else randomness.integer(1, 3)
    step = float(high[2] - low[2]) / depth
    first = float(low[2]) + 0.5 * step
    half = (high - low) / 2

    size = options.size
    if options.slices == 1:
        start = (
            randomness.integer(0, depth - 1) if randomness.chance(0.95) else (-1 if randomness.chance(0.5) else depth)
        )
    else:
        fraction = randomness.uniform(0.3, 0.7) if randomness.chance(0.6) else randomness.uniform(0.0, 1.0)
        start = max(-1, min(round(fraction * (depth - 1)), depth + 2 - options.slices))
    numbers = torch.arange(start - 1, start + options.slices + 1)
    shown = numbers.clamp(0, depth - 1) if scan_ends else numbers
    z = first + shown * step

    box_low, box_high = low.clone(), high.clone()
    if randomness.chance(options.jitter):
        amount = randomness.uniform(0.02, 0.25)
        box_low[:2] += (randomness.rand(2) * 2 - 1) * amount * half[:2]
        box_high[:2] += (randomness.rand(2) * 2 - 1) * amount * half[:2]
        if randomness.chance(0.3):
            reach = max(1, round(0.15 * depth))
            box_low[2] += randomness.integer(-reach, reach if depth > 2 * reach + 1 else 0) * step
            box_high[2] += randomness.integer(-reach if depth > 2 * reach + 1 else 0, reach) * step
    else:
        # A tight box on voxels ends at the pixel edges just outside the object.
        native_pixel = half[:2].max() * 2.0 / randomness.log_uniform(8.0, 128.0)
        box_low[:2] -= native_pixel * randomness.rand(2)
        box_high[:2] += native_pixel * randomness.rand(2)
    box_centre, box_half = (box_low + box_high) / 2, (box_high - box_low) / 2

    side = float(box_half[:2].max()) * 2.0 * randomness.uniform(1.3, 2.0)
    middle = box_centre[:2] + (randomness.rand(2) - 0.5) * 0.12 * side
    pixel = side / size
    offsets = (torch.arange(size) - (size - 1) / 2.0) * pixel
    x, y = float(middle[0]) + offsets, float(middle[1]) + offsets

    # Half of the crops are magnified views of few pixels: compute no finer than needed.
    grid = min(size, max(48, -(-native_size(size, randomness) // 16) * 16))
    grid_offsets = (torch.arange(grid) - (grid - 1) / 2.0) * side / grid
    grid_axes = (
        z.to(device),
        (float(middle[1]) + grid_offsets).to(device),
        (float(middle[0]) + grid_offsets).to(device),
    )
    images, mask = render(scene, grid_axes, step, size, options.looks, randomness)
    valid = (numbers >= 0) & (numbers < depth) if truncated else torch.ones_like(numbers, dtype=torch.bool)
    mask = mask * valid.to(device)[:, None, None]
    images, mask = field_of_view(images, mask, (x, y), (low, high), randomness)

    half_offsets = (torch.arange(size // 2) - (size // 2 - 1) / 2.0) * 2.0 * pixel
    local_x = (float(middle[0]) + half_offsets - box_centre[0]) / box_half[0]
    local_y = (float(middle[1]) + half_offsets - box_centre[1]) / box_half[1]
    slice_z = first + numbers[1:-1] * step
    local_z = (slice_z - box_centre[2]) / box_half[2]
    coordinates = box_coordinates(local_x, local_y, local_z)
    inside = local_z.abs() < 1.0
    rectangle = (
        torch.stack([(box_low[0] - x[0]), (box_low[1] - y[0]), (box_high[0] - x[0]), (box_high[1] - y[0])]) / pixel
    )
    common = {
        "masks": mask,
        "box_coordinates": coordinates.to(device),
        "slice_step": (step / box_half[2]).to(device),
        "inside": inside.to(device),
        "rectangles": (rectangle[None] * inside[:, None]).to(device),
    }
    return [{"images": image, **common} for image in images]


def field_of_view(
    images: list[Tensor],
    mask: Tensor,
    axes_xy: tuple[Tensor, Tensor],
    bounds: tuple[Tensor, Tensor],
    randomness: Randomness,
) -> tuple[list[Tensor], Tensor]:
    """Crops that reach over the edge of the scan repeat its last pixels, as at inference.

    Returns:
        the images so; the mask, empty where pixels are repeated.
    """
    shown = []
    for axis_index, axis in enumerate(axes_xy):
        index = torch.arange(len(axis))
        if randomness.chance(0.12):
            at_low = randomness.chance(0.5)
            inward = 1 if at_low else -1
            # Usually the object ends before the scan does; sometimes the scan cuts it.
            edge = bounds[0 if at_low else 1][axis_index] + (0.15 if randomness.chance(0.3) else 0.0) * inward
            limit = int((axis < edge).sum()) - randomness.integer(0, 12) * inward
            limit = max(0, min(len(axis) - 1, limit))
            clamped = index.clamp(min=limit) if at_low else index.clamp(max=limit)
            mask = mask.index_fill(2 - axis_index, torch.nonzero(clamped != index)[:, 0].to(mask.device), 0.0)
            index = clamped
        shown.append(index.to(mask.device))
    columns, rows = shown
    return [image[:, rows][:, :, columns] for image in images], mask


def box_coordinates(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """(T, 3, rows, columns) places in the box of pixels whose columns, rows and slices (T) lie at x, y and z."""
    shape = (len(z), len(y), len(x))
    return torch.stack([x.expand(shape), y[:, None].expand(shape), z[:, None, None].expand(shape)], dim=1)


def stacked(
    seed: int, step: int, count: int, looks: int, make: Callable[[Randomness], list[dict[str, Tensor]]]
) -> dict[str, Tensor]:
    """Batch number ``step`` of the endless stream of a seed, each part of its ``count`` samples stacked.

    Args:
        make: makes ``looks`` samples of one anatomy.
    """
    samples: list[dict[str, Tensor]] = []
    for index in range(-(-count // looks)):
        samples += make(Randomness.from_seed(seed, step, index))
    return {name: torch.stack([sample[name] for sample in samples[:count]]) for name in samples[0]}


def make_batch(seed: int, step: int, count: int, options: SampleOptions, device: torch.device | str = "cpu") -> Batch:
    """Batch number ``step`` of the endless stream of a seed; the same on every run and on any machine."""
    device = torch.device(device)
    return Batch(**stacked(seed, step, count, options.looks, lambda stream: make_samples(stream, options, device)))
