"""What the golden arrays of each official checkpoint layout are made from, with this project's networks.

``PRODUCERS`` names, for the layout of a golden file (its ``weights``), a class whose method ``stage(name)`` returns
all arrays of that stage by their name after the slash.  A further architecture is one more entry.
"""

from __future__ import annotations

import re
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from MedSAMSegmentLib import Geometry, OrientedBox, Session, Volume
from MedSAMSegmentLib.checkpoints import LoadedModel, find_model
from MedSAMSegmentLib.checkpoints.loading import network_with_weights
from MedSAMSegmentLib.inference import official_image
from MedSAMSegmentLib.inference.image_predictor import ImagePredictor
from MedSAMSegmentLib.inference.official import OfficialPrompt, OfficialTracker, network_picture
from MedSAMSegmentLib.inference.official_volume import box_to_box

Arrays = dict[str, Any]
Prompt = tuple[Any, Any]
"""Points (B, N, 2) and labels (B, N), or none."""


class _Case:
    """A network with the golden weights and the inputs of one golden file."""

    model_name: str

    def __init__(self, weights: dict[str, np.ndarray], inputs: dict[str, np.ndarray], how: dict[str, str]) -> None:
        self.spec = find_model(self.model_name)
        tensors = {name: torch.from_numpy(value.copy()) for name, value in weights.items()}
        self.network = network_with_weights(self.spec, tensors, "golden").requires_grad_(False)
        self.inputs = SimpleNamespace(**inputs)
        self.how = how
        self.loaded = LoadedModel(self.spec, self.network, "golden", torch.device("cpu"))

    @torch.inference_mode()
    def stage(self, name: str) -> Arrays:
        return getattr(self, "stage_" + name)()


def official_session(case: _Case, volume: np.ndarray, box: tuple[int, ...]) -> Session:
    """A session that does what the official program does, with one object.

    Args:
        volume: (k, j, i) uint8.
        box: i0, j0, k0, i1, j1, k1, first and last voxels.
    """
    scan = Volume(volume, Geometry.from_parts(volume.shape, (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), np.eye(3)))
    session = Session(scan, case.loaded, full_slice=True, official=True)
    session.add_object("object", OrientedBox.from_index_range(scan.geometry, *box[:3], *(end + 1 for end in box[3:])))
    return session


class _Sam2Case(_Case):
    """SAM 2 and its kin."""

    def _encode(self, image: torch.Tensor) -> tuple[Any, Arrays]:
        """The features of an image, and what trunk and neck said on the way."""
        encoder, heard = self.network.image_encoder, {}
        hooks = [
            part.register_forward_hook(lambda _, __, output, name=name: heard.update({name: output}))
            for name, part in (("trunk", encoder.trunk), ("neck", encoder.neck))
        ]
        features = self.network.encode_image(image)
        for hook in hooks:
            hook.remove()
        levels = heard["neck"][: len(encoder.strides)]
        arrays = {f"trunk{i}": level for i, level in enumerate(heard["trunk"])}
        arrays |= {f"fpn{i}": level for i, level in enumerate(levels)}
        arrays |= {f"pos{i}": encoder.position_encoding(level) for i, level in enumerate(levels)}
        return features, arrays

    def _normalised(self, picture: np.ndarray) -> np.ndarray:
        """(3, S, S) or (S, S) in [0, 1] -> network input."""
        mean, std = (
            np.array(v, np.float32)[:, None, None] for v in (self.spec.preprocessing.mean, self.spec.preprocessing.std)
        )
        return (picture - mean) / std


class MedSam2Case(_Sam2Case):
    """Volumes, tracked in the official order."""

    model_name = "medsam2"

    @cached_property
    def session(self) -> Session:
        x0, y0, x1, y1 = self.inputs.vol_box
        return official_session(self, self.inputs.volume, (x0, y0, self.key, x1, y1, self.key))

    @cached_property
    def tracker(self) -> OfficialTracker:
        """The session's own, so that each slice is encoded once for all stages."""
        return self.session._runner._tracker_of_scan

    @cached_property
    def key(self) -> int:
        return int(self.inputs.vol_slice)

    def stage_prep(self) -> Arrays:
        size = self.spec.image_size
        return {"images": np.stack([self._normalised(network_picture(s, size)) for s in self.inputs.volume])}

    def stage_encoder(self) -> Arrays:
        picture = network_picture(self.inputs.volume[self.key], self.spec.image_size)
        features, arrays = self._encode(torch.from_numpy(self._normalised(picture))[None])
        fine, middle = features.high_resolution
        return arrays | {"fpn0_256ch": arrays["fpn0"], "fpn0": fine, "fpn1": middle, "fpn2": features.embedding}

    def stage_memory_attention(self) -> Arrays:
        names = ("attn_curr", "attn_curr_pos", "attn_memory", "attn_memory_pos")
        tokens = [torch.from_numpy(getattr(self.inputs, name)).transpose(0, 1) for name in names]
        side = int(tokens[0].shape[1] ** 0.5)
        conditioned = self.network.memory_attention(*tokens, grid=(side, side), pointer_tokens=8)
        return {"out": conditioned.transpose(0, 1)}

    def stage_box(self) -> Arrays:
        self.tracker.reset()
        return {"click_logits": self._prompt_box()[:, None]}

    def stage_forward(self) -> Arrays:
        self.stage_box()
        arrays = self._pass()
        prompted, following = self.tracker.state(self.key).memory, self.tracker.state(self.key + 1).memory
        arrays |= {"cond_memory_features": prompted.features, "cond_memory_pos": prompted.position}
        return arrays | {"next_memory_features": following.features}

    def stage_reverse(self) -> Arrays:
        self.stage_box()
        return self._pass(reverse=True)

    def stage_union(self) -> Arrays:
        """Through a session, as a user asks for it."""
        union = np.zeros(self.inputs.volume.shape, bool)
        result = self.session.segment("object", on_slice=lambda _, index, mask: union.__setitem__(index, mask))
        return {"mask3d": union, "largest_component": result.mask}

    def stage_mask(self) -> Arrays:
        return {"click_logits": self._prompt_mask()[:, None]}

    def stage_mask_forward(self) -> Arrays:
        self._prompt_mask()
        arrays = self._pass()
        return arrays | {"cond_memory_features": self.tracker.state(self.key).memory.features}

    def stage_mask_reverse(self) -> Arrays:
        self._prompt_mask()
        return self._pass(reverse=True)

    def stage_mask_union(self) -> Arrays:
        return {"mask3d": self._both_ways(OfficialPrompt(mask=self._mask_of_box()))}

    def stage_two_objects(self) -> Arrays:
        self.stage_box()
        self.tracker.prompt(self.key, 2, OfficialPrompt(box=self._corners(self.inputs.vol_box2)))
        return self._pass()

    def stage_two_objects_offset(self) -> Arrays:
        self.stage_box()
        self.tracker.prompt(self.key + 1, 2, OfficialPrompt(box=self._corners(self.inputs.vol_box2)))
        return self._pass()

    def stage_correction(self) -> Arrays:
        self.stage_box()
        self._pass()
        points = [tuple(point) for point in self.inputs.vol_fix_points.tolist()]
        prompt = OfficialPrompt(points=points, labels=self.inputs.vol_fix_labels.tolist())
        logits = self.tracker.prompt(int(self.inputs.vol_fix_slice), 1, prompt)
        return {"click_logits": logits[:, None], **self._pass()}

    def stage_point(self) -> Arrays:
        self.tracker.reset()
        point = tuple(self.inputs.vol_fix_points[0].tolist())
        logits = self.tracker.prompt(self.key, 1, OfficialPrompt(points=[point], labels=[1]))
        features = self.tracker._features(self.key)
        rows, columns = self.inputs.volume.shape[1:]
        place = torch.tensor([[point]]) / torch.tensor([columns, rows]) * self.spec.image_size
        embedding = self.network.without_memory(features)
        decoded = self.network.decode(
            embedding, features.high_resolution, place, torch.ones(1, 1, dtype=torch.long), multimask=True
        )
        return {"click_logits": logits[:, None], "ious": decoded.candidate_ious}

    def stage_absent_forward(self) -> Arrays:
        change = re.search(r"weight (\S+) lowered by ([\d.]+)", self.how["absent_forward/masks"])
        weight, amount = self.network.get_parameter(change[1]), float(change[2])
        weight -= amount
        try:
            arrays = self.stage_forward()
        finally:
            weight += amount
        return arrays

    def _corners(self, box: np.ndarray) -> tuple[float, ...]:
        return tuple(box.tolist())

    def _prompt_box(self) -> np.ndarray:
        return self.tracker.prompt(self.key, 1, OfficialPrompt(box=self._corners(self.inputs.vol_box)))

    def _mask_of_box(self) -> np.ndarray:
        self.tracker.reset()
        return self._prompt_box()[0] > 0

    def _prompt_mask(self) -> np.ndarray:
        mask = self._mask_of_box()
        self.tracker.reset()
        return self.tracker.prompt(self.key, 1, OfficialPrompt(mask=mask))

    def _pass(self, reverse: bool = False) -> Arrays:
        visited = dict(self.tracker.propagate(None if not reverse else self.key, reverse))
        order = sorted(visited)
        states = [self.tracker.state(index) for index in order]
        logits = np.stack([visited[index] for index in order])[:, :, None]
        return {
            "slices": np.array(order),
            "low_res_logits": torch.stack([state.low_res_logits for state in states]),
            "object_score_logits": torch.stack([state.object_score_logits for state in states]),
            "obj_ptr": torch.stack([state.object_pointer for state in states]),
            "video_res_logits": logits,
            "masks": logits > 0,
        }

    def _both_ways(self, prompt: OfficialPrompt) -> np.ndarray:
        mask = np.zeros(self.inputs.volume.shape, bool)
        for step in self.tracker.both_ways(self.key, [prompt]):
            mask[step.index] |= step.logits[0] > 0
        return mask


class EfficientTamCase(MedSam2Case):
    """The same volumes through the smaller encoder, which has one level."""

    model_name = "medsam2-efficienttam-tiny-flare25-recist"

    def stage_encoder(self) -> Arrays:
        picture = network_picture(self.inputs.volume[self.key], self.spec.image_size)
        return self._encode(torch.from_numpy(self._normalised(picture))[None])[1]


class Sam2ImageCase(_Sam2Case):
    """Single images, prompted without memory."""

    model_name = "sam2.1-tiny"

    @cached_property
    def image(self) -> torch.Tensor:
        size = (self.spec.image_size, self.spec.image_size)
        picture = torch.from_numpy(self.inputs.image).permute(2, 0, 1)[None].float() / 255
        stretched = F.interpolate(picture, size=size, mode="bilinear", align_corners=False, antialias=True)
        return torch.from_numpy(self._normalised(stretched[0].numpy()))[None]

    @cached_property
    def encoded(self) -> tuple[Any, Arrays]:
        return self._encode(self.image)

    @property
    def features(self) -> Any:
        return self.encoded[0]

    def stage_prep(self) -> Arrays:
        return {"network_input": self.image[0]}

    def stage_encoder(self) -> Arrays:
        return self.encoded[1]

    def stage_features(self) -> Arrays:
        fine, middle = self.features.high_resolution
        return {"image_embed": self.network.without_memory(self.features), "high_res0": fine, "high_res1": middle}

    def stage_prompt(self) -> Arrays:
        size = (self.spec.image_size, self.spec.image_size)
        encode = lambda prompt: self.network.encode_prompts(*prompt, None, size)[0]  # noqa: E731
        box, points = self._boxes(self.inputs.box), self._points(3)
        grid = self.features.embedding.shape[-2:]
        return {
            "dense_pe": self.network.sam_prompt_encoder.dense_position(grid),
            "box_sparse": encode(box),
            "points_sparse": encode(points),
            "box_points_sparse": encode(_joined(box, points)),
        }

    def stage_box(self) -> Arrays:
        return self._predictions(self._boxes(self.inputs.box))

    def stage_point1(self) -> Arrays:
        return self._predictions(self._points(1))

    def stage_points(self) -> Arrays:
        return self._predictions(self._points(3))

    def stage_box_points(self) -> Arrays:
        return self._predictions(_joined(self._boxes(self.inputs.box), self._points(3)))

    def stage_box_mask(self) -> Arrays:
        return self._predictions(self._boxes(self.inputs.box), torch.from_numpy(self.inputs.mask_logits)[None])

    def stage_two_boxes(self) -> Arrays:
        return self._predictions(self._boxes(self.inputs.box, self.inputs.box2))

    def _scaled(self, places: np.ndarray) -> torch.Tensor:
        rows, columns = self.inputs.image.shape[:2]
        return torch.from_numpy(places) / torch.tensor([columns, rows]) * self.spec.image_size

    def _boxes(self, *boxes: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return self._scaled(np.stack(boxes).reshape(-1, 2, 2)), torch.tensor([[2, 3]] * len(boxes))

    def _points(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.from_numpy(self.inputs.point_labels[:count])[None]
        return self._scaled(self.inputs.points[None, :count]), labels

    def _predictions(self, prompt: tuple[torch.Tensor, torch.Tensor], mask: torch.Tensor | None = None) -> Arrays:
        network, features = self.network, self.features
        embedding = network.without_memory(features)
        squeeze = (lambda x: x[0]) if len(prompt[0]) == 1 else (lambda x: x)
        arrays: Arrays = {}
        for kind in ("multi", "single"):
            decoded = network.decode(embedding, features.high_resolution, *prompt, mask, multimask=kind == "multi")
            logits = decoded.candidate_logits
            original = F.interpolate(logits, size=self.inputs.image.shape[:2], mode="bilinear", align_corners=False)
            arrays |= {
                f"{kind}_low_res": squeeze(logits.clamp(-32, 32)),
                f"{kind}_iou": squeeze(decoded.candidate_ious),
                f"{kind}_logits": squeeze(original),
                f"{kind}_mask": squeeze(original) > 0,
            }
        sparse, dense = network.encode_prompts(*prompt, mask, (self.spec.image_size, self.spec.image_size))
        position = network.sam_prompt_encoder.dense_position(embedding.shape[-2:])
        everything = network.sam_mask_decoder.predict_masks(
            embedding, position, sparse, dense, features.high_resolution
        )
        return arrays | {
            "all_iou": everything.ious,
            "object_score_logits": everything.object_score_logits,
            "mask_tokens": everything.mask_tokens,
        }


class _SamCase(_Case):
    """SAM and its kin: images are prepared and masks read as the model's specification says."""

    def _encode(self, image: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Network input and embedding."""
        prepared = torch.from_numpy(official_image.network_input(image, self.spec))
        return prepared, self.network.encode_image(prepared)

    def _corners(self, boxes: np.ndarray, image: np.ndarray) -> np.ndarray:
        """(n, 4) boxes of an image in the network's pixels, float64."""
        corners = np.asarray(boxes).reshape(-1, 2, 2)
        return official_image.to_network(corners, self.spec, image.shape[:2], box=True).reshape(-1, 4)

    def _sparse(self, prompt: Prompt) -> torch.Tensor:
        return self._prompted(prompt)[0]

    def _prompted(self, prompt: Prompt, mask: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        return self.network.encode_prompts(*prompt, mask, (self.spec.image_size, self.spec.image_size))

    def _at_image_size(self, logits: torch.Tensor, image: np.ndarray) -> torch.Tensor:
        return official_image.at_image_size(logits, self.spec, image.shape[:2])


class SamImageCase(_SamCase):
    """One image, all kinds of prompts."""

    model_name = "sam-vit-b"

    @cached_property
    def encoded(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self._encode(self.inputs.image)

    @property
    def embedding(self) -> torch.Tensor:
        return self.encoded[1]

    def stage_prep(self) -> Arrays:
        points = official_image.to_network(self.inputs.points, self.spec, self.inputs.image.shape[:2])
        return {
            "resized": official_image.network_pixels(self.inputs.image, self.spec),
            "network_input": self.encoded[0],
            "box_1024": self._corners(self.inputs.box, self.inputs.image),
            "points_1024": points,
        }

    def stage_encoder(self) -> Arrays:
        return {"embedding": self.embedding}

    def stage_prompt(self) -> Arrays:
        box, points = self._box(), self._points(3)
        sparse, dense = self._prompted(box)
        return {
            "dense_pe": self.network.prompt_encoder.dense_position(self.embedding.shape[-2:]),
            "box_sparse": sparse,
            "box_dense": dense,
            "points_sparse": self._sparse(points),
            "box_points_sparse": self._sparse(_joined(points, box)),
            "mask_dense": self._prompted((None, None), self._mask())[1],
        }

    def stage_box(self) -> Arrays:
        return self._predictions(self._box())

    def stage_point1(self) -> Arrays:
        return self._predictions(self._points(1))

    def stage_points(self) -> Arrays:
        return self._predictions(self._points(3))

    def stage_box_points(self) -> Arrays:
        return self._predictions(_joined(self._points(3), self._box()))

    def stage_box_mask(self) -> Arrays:
        return self._predictions(self._box(), self._mask())

    def stage_point1_mask(self) -> Arrays:
        return self._predictions(self._points(1), self._mask())

    def stage_two_boxes(self) -> Arrays:
        decoded = self.network.decode(self.embedding, *self._box(self.inputs.box, self.inputs.box2))
        return {"low_res": decoded.candidate_logits, "iou": decoded.candidate_ious}

    def _mask(self) -> torch.Tensor:
        return torch.from_numpy(self.inputs.mask_logits)[None]

    def _box(self, *boxes: np.ndarray) -> Prompt:
        return _box_prompt(self._corners(np.stack(boxes or (self.inputs.box,)), self.inputs.image))

    def _points(self, count: int) -> Prompt:
        places = official_image.to_network(self.inputs.points[None, :count], self.spec, self.inputs.image.shape[:2])
        return torch.from_numpy(places).float(), torch.from_numpy(self.inputs.point_labels[None, :count])

    def _predictions(self, prompt: Prompt, mask: torch.Tensor | None = None) -> Arrays:
        arrays: Arrays = {}
        for kind in ("multi", "single"):
            decoded = self.network.decode(self.embedding, *prompt, mask, multimask=kind == "multi")
            logits = self._at_image_size(decoded.candidate_logits, self.inputs.image)
            arrays |= {
                f"{kind}_low_res": decoded.candidate_logits[0],
                f"{kind}_iou": decoded.candidate_ious[0],
                f"{kind}_logits": logits[0],
                f"{kind}_mask": official_image.is_inside(logits, self.spec)[0],
            }
        return arrays


class MobileSamCase(SamImageCase):
    """The same image and prompts through the smaller encoder."""

    model_name = "mobile-sam"


class MedSamCase(_SamCase):
    """A colour and a grey image, one box each."""

    model_name = "medsam"

    def stage_rgb(self) -> Arrays:
        return self._inferred(self.inputs.image, self.inputs.box)

    def stage_grey(self) -> Arrays:
        """The mask through a session, which encodes the slice once for both."""
        image, box = self.inputs.volume[int(self.inputs.vol_slice)], self.inputs.vol_box
        session = official_session(self, image[None], (*box[:2], 0, *box[2:], 0))
        prepared = torch.from_numpy(official_image.network_input(image, self.spec))
        arrays = self._inferred(image, box, (prepared, session._runner._encoded(0).features))
        return arrays | {"mask": session.segment("object").mask[0]}

    def _inferred(
        self, image: np.ndarray, box: np.ndarray, encoded: tuple[torch.Tensor, torch.Tensor] | None = None
    ) -> Arrays:
        prepared, embedding = encoded or self._encode(image)
        corners = self._corners(box, image)
        prompt = _box_prompt(corners)
        decoded = self.network.decode(embedding, *prompt)
        probabilities = self._at_image_size(decoded.low_res_logits, image)
        return {
            "network_input": prepared,
            "box_1024": corners,
            "embedding": embedding,
            "sparse": self._sparse(prompt),
            "low_res_logits": decoded.low_res_logits,
            "iou": decoded.iou,
            "low_res_prob": decoded.low_res_logits.sigmoid(),
            "prob": probabilities,
            "mask": official_image.is_inside(probabilities, self.spec)[0, 0],
        }


class LiteMedSamCase(_SamCase):
    """An image with two boxes, and a volume whose boxes follow the mask from slice to slice."""

    model_name = "lite-medsam"

    def stage_encoder(self) -> Arrays:
        tile = torch.from_numpy(self.inputs.tile256)
        encoder = self.network.image_encoder
        return {"tile256": self.network.encode_image(tile), "patch_embed": encoder.patch_embed(tile)}

    def stage_2d(self) -> Arrays:
        image = self.inputs.image
        prepared, embedding = self._encode(image)
        arrays: Arrays = {"network_input": prepared, "embedding": embedding}
        labels = np.zeros(image.shape[:2], np.uint8)
        for number, box in enumerate((self.inputs.box, self.inputs.box2)):
            corners = self._corners(box.astype(int), image)
            decoded = self.network.decode(embedding, *_box_prompt(corners))
            logits = self._at_image_size(decoded.low_res_logits, image)
            mask = official_image.is_inside(logits, self.spec)[0, 0].numpy()
            labels[mask] = number + 1
            arrays |= {
                f"box{number}_256": corners.astype(np.int64),
                f"box{number}_sparse": self._sparse(_box_prompt(corners)),
                f"box{number}_low_res": decoded.low_res_logits,
                f"box{number}_iou": decoded.iou,
                f"box{number}_logits": logits,
                f"box{number}_mask": mask,
            }
        return arrays | {"segs": labels}

    def stage_3d(self) -> Arrays:
        volume, box = self.inputs.volume, self.inputs.vol_box.astype(int)
        first, last = (int(z) for z in re.search(r"\[x0,y0,(\d+),x1,y1,(\d+)\]", self.how["3d/slices"]).groups())
        middle = (last - first) // 2 + first
        session = official_session(self, volume, (*box[:2], first, *box[2:], last))
        encoded = session._runner._encoded  # each slice once, for both
        steps = list(box_to_box(ImagePredictor(self.loaded), encoded, first, last, {middle: tuple(box)}))
        order = [step.index for step in steps]
        result = session.segment("object")
        arrays: Arrays = {}
        for number in range(2):
            slice_, threshold = re.search(r"volume\[(\d+)\] > (\d+)", self.how[f"3d/next_box{number}"]).groups()
            mask = volume[int(slice_)] > int(threshold)
            arrays[f"next_box{number}"] = official_image.box_around(mask, self.spec).astype(np.int64)
        return arrays | {
            "slices": np.array(order),
            "boxes_256": np.stack([step.box for step in steps]).astype(np.int64),
            "low_res": torch.stack([step.low_res_logits for step in steps]),
            "iou": torch.stack([step.estimate for step in steps]),
            "network_input_mid": self._encode(volume[middle])[0],
            "segs": result.mask.astype(np.uint8),
        }


def _box_prompt(corners: np.ndarray) -> Prompt:
    """(n, 4) boxes in the network's pixels as points and labels."""
    return torch.from_numpy(corners).float().reshape(-1, 2, 2), torch.tensor([[2, 3]] * len(corners))


def _joined(*prompts: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    places, labels = zip(*prompts, strict=True)
    return torch.cat(places, dim=1), torch.cat([label.long() for label in labels], dim=1)


PRODUCERS: dict[str, type[_Case]] = {
    "medsam2_hiera_t512": MedSam2Case,
    "medsam2_efficienttam_ti_512": EfficientTamCase,
    "sam2.1_hiera_tiny": Sam2ImageCase,
    "sam_vit_b": SamImageCase,
    "mobile_sam_vit_t": MobileSamCase,
    "medsam_vit_b": MedSamCase,
    "lite_medsam": LiteMedSamCase,
}
