"""How a scene looks to a scanner and on the screen: contrast, texture, slice thickness, blur, noise, window.

Intensities are random on purpose: no modality is imitated, all are covered.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .anatomy.scene import AnatomyScene
from .anatomy.tissues import Contrast
from .fields import Axes, Randomness, SmoothField
from .scene import AIR, EXTENT, FIRST_TISSUE, LAYER, TARGET, TARGET_INNER, Scene


def tissue_intensities(scene: Scene, randomness: Randomness) -> Tensor:
    """Mean intensity of every tissue, the target distinguishable from most of what may lie around it: (tissues,)."""
    spread = randomness.log_uniform(0.25, 1.0)
    means = 0.5 + spread * (randomness.rand(scene.tissues) - 0.5)
    contrast = randomness.log_uniform(0.06, 0.35)
    for number in range(LAYER, scene.tissues):
        too_close = abs(float(means[number] - means[TARGET])) < contrast
        if too_close and not randomness.chance(0.12):
            sign = 1.0 if (means[number] > means[TARGET]) != randomness.chance(0.25) else -1.0
            means[number] = means[TARGET] + sign * contrast * randomness.uniform(1.0, 1.6)
    if randomness.chance(0.5):
        means[LAYER] = means[FIRST_TISSUE:].min() - randomness.uniform(0.05, 0.4)
    # Some neighbours look exactly like the target: the box alone tells them apart.
    for number in range(FIRST_TISSUE, scene.tissues):
        if randomness.chance(0.08):
            means[number] = means[TARGET]
    means[AIR] = means.min() - randomness.uniform(0.0, 0.5)
    inner_sign = 1.0 if randomness.chance(0.5) else -1.0
    means[TARGET_INNER] = means[TARGET] + inner_sign * randomness.uniform(0.0, 0.45)
    return means


def _blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur in the slice plane; image (slices, rows, columns), sigma in pixels."""
    radius = max(1, round(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(image[:, None], (radius, radius, radius, radius), mode="replicate")
    rows = F.conv2d(padded, kernel.view(1, 1, -1, 1))
    return F.conv2d(rows, kernel.view(1, 1, 1, -1))[:, 0]


def _contrast(scene: Scene | AnatomyScene, randomness: Randomness) -> Contrast:
    if isinstance(scene, AnatomyScene):
        return scene.contrast(randomness)
    return Contrast(tissue_intensities(scene, randomness), windowed=False, inverted=0.5)


def _textured(image: Tensor, tissue: Tensor, scene: Scene | AnatomyScene, axes: Axes, randomness: Randomness) -> Tensor:
    """Adds two octaves of tissue-dependent texture and a slow shading (coil sensitivity, beam hardening)."""
    for wavelength in (randomness.log_uniform(0.12, 0.4), randomness.log_uniform(0.4, 1.5)):
        amplitude = randomness.log_uniform(0.004, 0.09) * randomness.rand(scene.tissues).to(image.device)
        image = image + amplitude[tissue] * SmoothField.random(randomness, 1, wavelength, EXTENT).on_grid(axes)[0]
    if randomness.chance(0.5):
        shading = SmoothField.random(randomness, 1, randomness.uniform(2.0, 6.0), EXTENT).on_grid(axes)[0]
        image = image * torch.exp(randomness.uniform(0.0, 0.2) * shading)
    return image


def _noise(shape: tuple[int, ...], randomness: Randomness, device: torch.device) -> Tensor:
    """White or slightly correlated noise of unit variance."""
    noise = randomness.normal(*shape).to(device)
    if randomness.chance(0.4):
        noise = _blur(noise, randomness.uniform(0.5, 1.2))
        noise = noise / noise.std().clamp(min=1e-6)
    return noise


def native_size(size: int, randomness: Randomness) -> int:
    """Pixels the scanner resolved across a crop of ``size`` pixels: small organs are magnified, large ones are not."""
    return min(size, max(16, round(randomness.log_uniform(0.16, 2.0) * size)))


def _acquire(image: Tensor, native: int, randomness: Randomness) -> Tensor:
    """Limited resolution and noise of the scanner: (slices, native, native)."""
    if randomness.chance(0.5):
        image = _blur(image, randomness.log_uniform(0.4, 2.0) * image.shape[-1] / 128.0)
    if native < image.shape[-1]:
        image = F.interpolate(image[:, None], size=(native, native), mode="area")[:, 0]
    sigma = randomness.log_uniform(0.003, 0.08) if randomness.chance(0.9) else randomness.uniform(0.08, 0.15)
    return image + sigma * _noise(tuple(image.shape), randomness, image.device)


def _magnify(image: Tensor, size: int, mode: str) -> Tensor:
    return F.interpolate(image[:, None], size=(size, size), mode=mode, align_corners=False)[:, 0]


def _window(image: Tensor, randomness: Randomness, inverted: float) -> Tensor:
    """The reader's window: clips, scales to [0, 1], sometimes ``inverted`` or bent by a gamma curve."""
    stride = max(1, image.shape[-1] // 32)
    reference = image[:, ::stride, ::stride].reshape(-1)
    low = float(torch.quantile(reference, randomness.uniform(0.0, 0.12)))
    high = float(torch.quantile(reference, randomness.uniform(0.88, 1.0)))
    if randomness.chance(0.15):
        low -= randomness.uniform(0.0, 0.5)
        high += randomness.uniform(0.0, 0.5)
    image = ((image - low) / max(high - low, 0.05)).clamp(0.0, 1.0)
    if randomness.chance(0.5):
        image = image ** randomness.log_uniform(0.6, 1.6)
    return 1.0 - image if randomness.chance(inverted) else image


def render(
    scene: Scene | AnatomyScene, axes: Axes, slice_step: float, size: int, looks: int, randomness: Randomness
) -> tuple[list[Tensor], Tensor]:
    """Images in [0, 1] and the target's mask, (slices, size, size) float32.

    Args:
        axes: z positions of the slices; y and x positions of the grid on which the scene is evaluated, which may be
            coarser than the crop: what the scanner does not resolve need not be computed.
        slice_step: distance between slices in scene units; slices may be as thick as that (partial volume).
        size: rows and columns of the result.
        looks: number of images of the same anatomy, each with contrast, texture, noise and window of its own.
    """
    sub_slices = 2 if slice_step > 0.06 and randomness.chance(0.35) else 1
    if sub_slices > 1:
        thickness = slice_step * randomness.uniform(0.4, 1.0)
        offsets = (torch.arange(sub_slices) + 0.5) / sub_slices - 0.5
        axes = ((axes[0][:, None] + thickness * offsets.to(axes[0])).reshape(-1), axes[1], axes[2])
    tissue, level = scene.tissue_map(axes)
    mask = level
    if sub_slices > 1:
        mask = mask.unflatten(0, (-1, sub_slices)).mean(1)
    mask = (_magnify(mask, size, "bilinear") > 0).float()
    images = []
    for _ in range(looks):
        contrast = _contrast(scene, randomness)
        image = _textured(contrast.means.to(tissue.device)[tissue], tissue, scene, axes, randomness)
        if sub_slices > 1:
            image = image.unflatten(0, (-1, sub_slices)).mean(1)
        native = min(native_size(size, randomness), tissue.shape[-1])
        image = _acquire(image, native, randomness)
        if native < size:
            image = _magnify(image, size, "bilinear" if randomness.chance(0.8) else "bicubic")
        windowed = contrast.windowed
        images.append(image.clamp(0.0, 1.0) if windowed else _window(image, randomness, contrast.inverted))
    return images, mask
