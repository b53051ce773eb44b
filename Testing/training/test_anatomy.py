"""Computed bodies are what training takes them for: organs of usual sizes in their places, drawn as scanners do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from MedSAMSegmentLib.training.anatomy.bodies import random_anatomy
from MedSAMSegmentLib.training.anatomy.head import head
from MedSAMSegmentLib.training.anatomy.lesions import LESION, add_lesion
from MedSAMSegmentLib.training.anatomy.limb import limb
from MedSAMSegmentLib.training.anatomy.scene import AnatomyScene
from MedSAMSegmentLib.training.anatomy.structures import Body
from MedSAMSegmentLib.training.anatomy.tissues import computed_tomography, magnetic_resonance
from MedSAMSegmentLib.training.anatomy.torso import torso
from MedSAMSegmentLib.training.appearance import render
from MedSAMSegmentLib.training.fields import Randomness

# Millilitres; wide, as people differ and what lies in an organ is drawn over it.
USUAL = {
    torso: {
        "liver": (900, 2300),
        "spleen": (60, 400),
        "left kidney": (70, 260),
        "right kidney": (70, 260),
        "pancreas": (40, 160),
        "left lung": (800, 4000),
        "right lung": (800, 4000),
        "aorta": (40, 350),
        "vertebra L3": (25, 120),
        "left rib 7": (8, 60),
        "left psoas": (60, 450),
    },
    head: {
        "left hippocampus": (2.0, 6.5),
        "right hippocampus": (2.0, 6.5),
        "left thalamus": (4, 13),
        "left putamen": (2.2, 8),
        "right caudate": (2, 8),
        "left lateral ventricle": (3, 40),
        "brainstem": (12, 40),
        "right cerebellum": (40, 110),
        "left eye": (3, 14),
    },
}


def the_scene(body: Body, target: str, seed: int = 0) -> AnatomyScene:
    scene = AnatomyScene.of(body, target, Randomness.from_seed(seed, 99))
    assert scene is not None, f"nothing can be seen of the {target}"
    return scene


def millilitres(scene: AnatomyScene) -> float:
    axes = scene.survey_axes()
    cell = 1.0
    for axis in axes:
        cell *= float(axis[1] - axis[0]) * scene.scale
    return float((scene.target_level(axes) > 0).sum()) * cell / 1000.0


@pytest.mark.parametrize("make", [torso, head])
def test_organs_have_usual_sizes(make: Callable[[Randomness], Body]) -> None:
    for seed in (1, 2):
        body = make(Randomness.from_seed(seed))
        for name, (least, most) in USUAL[make].items():
            volume = millilitres(the_scene(body, name, seed))
            assert least <= volume <= most, f"{name}: {volume:.1f} ml"


@pytest.mark.parametrize("make", [torso, head, limb])
def test_the_same_stream_gives_the_same_person_and_another_one_somebody_else(
    make: Callable[[Randomness], Body],
) -> None:
    points = (Randomness.from_seed(4).rand(3, 500) - 0.5) * 120.0
    first, again, other = (make(Randomness.from_seed(seed)) for seed in (5, 5, 6))
    assert [each.name for each in first.structures] == [each.name for each in again.structures]
    for one, same in zip(first.structures, again.structures, strict=True):
        assert torch.equal(one.level(points.clone()), same.level(points.clone()))
    levels = [torch.stack([each.level(points.clone()) for each in body.structures[:3]]) for body in (first, other)]
    assert not torch.equal(*levels)


def test_what_comes_in_pairs_lies_on_its_own_side() -> None:
    for make in (torso, head):
        scenes: dict[str, AnatomyScene] = {}
        body = make(Randomness.from_seed(7))
        for name in sorted({each.name for each in body.structures}):
            if name.startswith(("left ", "right ")) and "iliac" not in name and "atrium" not in name:
                scenes[name] = the_scene(body, name)
        assert len(scenes) > 20
        for name, scene in scenes.items():
            assert (float(scene.middle[0]) > 0) == name.startswith("left "), name


def test_the_mask_is_exactly_where_the_organ_can_be_seen() -> None:
    body = torso(Randomness.from_seed(8))
    scene = the_scene(body, "spleen")
    axes = tuple(torch.linspace(-1.2, 1.2, 24) for _ in range(3))
    tissue, level = scene.tissue_map((axes[0], axes[1], axes[2]))
    shown = tissue == scene.tissue_names.index("spleen")
    assert 500 < int(shown.sum()) < shown.numel() / 2
    assert torch.equal(shown, level > 0)
    assert torch.equal(scene.target_level((axes[0], axes[1], axes[2])) > 0, level > 0)


def test_a_lesion_lies_in_its_host_or_at_its_border() -> None:
    for seed in range(4):
        body = limb(Randomness.from_seed(seed))
        hosts = [each for each in body.structures if each.name.startswith("muscle")]
        assert add_lesion(body, hosts, 30.0)
        scene = the_scene(body, LESION, seed)
        within = [bool((scene.high > host.low).all() and (scene.low < host.high).all()) for host in hosts]
        assert any(within)
        assert float((scene.high - scene.low).max()) < 4.0 * 30.0 * 1.8


def test_tissues_look_as_scanners_show_them() -> None:
    names = ["air", "fat", "muscle", "cortical bone", "water", "lung"]
    for seed in range(20):
        units = dict(zip(names, computed_tomography(names, Randomness.from_seed(seed)).means.tolist(), strict=True))
        assert units["air"] < units["lung"] < units["fat"] < units["muscle"] < units["cortical bone"]
        assert units["fat"] < units["water"] < units["cortical bone"]
        signal = magnetic_resonance(names, Randomness.from_seed(seed)).means
        assert float(signal.min()) >= 0.0
        assert float(signal[names.index("cortical bone")]) < float(signal[names.index("muscle")]) + 0.1


def test_pictures_of_bodies_show_their_target() -> None:
    contrasts = []
    for seed in range(6):
        randomness = Randomness.from_seed(seed, 3)
        scene = random_anatomy(randomness)
        axes = (torch.linspace(-0.9, 0.9, 16), *(torch.linspace(-1.3, 1.3, 32) for _ in range(2)))
        images, mask = render(scene, (axes[0], axes[1], axes[2]), 0.1, 32, 2, randomness)
        assert len(images) == 2
        for image in images:
            assert image.shape == mask.shape == (16, 32, 32)
            assert bool(torch.isfinite(image).all()) and float(image.min()) >= 0.0 and float(image.max()) <= 1.0
            contrasts.append(float(image.std()))
        assert 20 < int(mask.sum()) < mask.numel()
    assert sum(contrast > 0.02 for contrast in contrasts) >= len(contrasts) - 2
