"""From an image to a network's input and from its output to a mask, exactly as the official program of the model does.

What is done is written in the model's :class:`~MedSAMSegmentLib.models.specification.Preprocessing`; these functions
carry it out.  They keep nothing and know no network::

    tensor = torch.from_numpy(network_input(image, spec))
    corners = torch.from_numpy(to_network(box.reshape(1, 2, 2), spec, image.shape[:2], box=True)).float()
    decoded = network.decode(network.encode_image(tensor), corners, torch.tensor([[2, 3]]))
    mask = is_inside(at_image_size(decoded.low_res_logits, spec, image.shape[:2]), spec)

Coordinates are (x, y) in pixels with pixel centres on integers, as the official programs take them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from .official_resize import resize, resize_by_area

if TYPE_CHECKING:
    from ..models.specification import ModelSpec


def network_size(spec: ModelSpec, shape: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) that an image of ``shape`` covers in the network's square input."""
    if spec.preprocessing.resize == "stretch":
        return spec.image_size, spec.image_size
    scale = spec.image_size / max(shape)
    return int(shape[0] * scale + 0.5), int(shape[1] * scale + 0.5)


def network_pixels(image: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """The image (H, W) or (H, W, 3) uint8 at :func:`network_size`, (h, w, 3): uint8, or float32 0 to 255 where the
    official program resamples in floating point.

    Raises:
        InputError: ``WRONG_IMAGE`` if that is not what ``image`` is.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)) or 0 in image.shape:
        raise InputError("WRONG_IMAGE", "The official way takes an image of 8 bits, grey or RGB.")
    rgb = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    size = network_size(spec, rgb.shape[:2])
    if spec.preprocessing.filter == "antialiased-bilinear":
        return _antialiased_bilinear(rgb, size)
    return resize(rgb, size, spec.preprocessing.filter)


def network_input(image: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """The image (H, W) or (H, W, 3) uint8 as (1, 3, S, S) float32, zeros below and to the right of what it covers.

    Raises:
        InputError: ``WRONG_IMAGE`` if that is not what ``image`` is.
    """
    rules = spec.preprocessing
    values = network_pixels(image, spec).astype(np.float64)
    if rules.intensities == "min-max":
        low, high = values.min(), values.max()
        values = (values - low) / max(high - low, 1e-8)
    else:
        values = values / 255
    values = (values - np.array(rules.mean)) / np.array(rules.std)
    rows, columns = values.shape[:2]
    values = np.pad(values, ((0, spec.image_size - rows), (0, spec.image_size - columns), (0, 0)))
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None], dtype=np.float32)


def to_network(places: np.ndarray, spec: ModelSpec, shape: tuple[int, int], box: bool = False) -> np.ndarray:
    """(..., 2) places (x, y) of an image of ``shape`` in pixels of the network's input, float64.

    Args:
        box: the places are corners of boxes, which some programs cut to whole pixels.
    """
    if spec.preprocessing.whole_pixel_boxes and box:
        # Places that came through millimetres are a last bit off whole pixels, and cutting would make it a pixel.
        return np.trunc(np.round(np.asarray(places, np.float64), 6) * (spec.image_size / max(shape)))
    rows, columns = network_size(spec, shape)
    return np.asarray(places, np.float64) * (columns / shape[1], rows / shape[0])


def scribble_input(scribble: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """Strokes on an image, (H, W) bool, as the mask (1, 1, S, S) of zeros and ones, float32, that LiteMedSAM's program
    for scribbles shows its network: reduced like the image, and every pixel that anything is left in counts.
    """
    size = network_size(spec, (int(scribble.shape[0]), int(scribble.shape[1])))
    drawn = resize_by_area(scribble.astype(np.uint8), size) > 0
    padding = ((0, spec.image_size - size[0]), (0, spec.image_size - size[1]))
    return np.pad(drawn, padding)[None, None].astype(np.float32)


def at_image_size(low_res_logits: Tensor, spec: ModelSpec, shape: tuple[int, int]) -> Tensor:
    """(B, M, h, w) logits of the decoder as (B, M, H, W) at the image's own size: logits, or probabilities where the
    official program interpolates these; see :func:`is_inside`.
    """
    rules = spec.preprocessing
    values = low_res_logits.float()
    if rules.interpolated == "probabilities":
        values = values.sigmoid()
    if rules.resize == "longest-side":
        values = _bilinear(values, (spec.image_size, spec.image_size))
        rows, columns = network_size(spec, shape)
        values = values[..., :rows, :columns]
    return _bilinear(values, shape)


def is_inside(values: Tensor, spec: ModelSpec) -> Tensor:
    """Which values of :func:`at_image_size` belong to the object; bool of the same shape."""
    return values > (0.5 if spec.preprocessing.interpolated == "probabilities" else 0.0)


def box_around(mask: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """(4,) x0, y0, x1, y1 of the box about a mask (H, W), in pixels of the network's input, wider by the margin that
    the model's program for volumes has (``Preprocessing.next_box_margin``).

    This is how MedSAM's and LiteMedSAM's programs prompt the next slice.  The mask must not be empty; the box stays
    within the network's input.
    """
    size, margin = spec.image_size, spec.preprocessing.next_box_margin or 0
    shape = network_size(spec, mask.shape)
    if spec.preprocessing.filter == "area":
        mask = resize_by_area(mask.astype(np.uint8), shape)
    else:
        nearest = [np.arange(new) * old // new for new, old in zip(shape, mask.shape, strict=True)]
        mask = mask[np.ix_(*nearest)]
    rows, columns = np.nonzero(mask)
    low = np.maximum((columns.min() - margin, rows.min() - margin), 0)
    high = np.minimum((columns.max() + margin, rows.max() + margin), size)
    return np.concatenate([low, high]).astype(np.float64)


def _bilinear(values: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(values.shape[-2:]) == tuple(size):
        return values
    return F.interpolate(values, size=tuple(size), mode="bilinear", align_corners=False)


def _antialiased_bilinear(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    planes = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)[None].float()
    resized = F.interpolate(planes, size=size, mode="bilinear", align_corners=False, antialias=True)
    return resized[0].permute(1, 2, 0).numpy()
