"""The SAM network and its image encoders: what holds for any weights and any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from MedSAMSegmentLib.checkpoints import LoadedModel
from MedSAMSegmentLib.errors import CheckpointError
from MedSAMSegmentLib.inference.predictor import make_predictor
from MedSAMSegmentLib.models import vision_transformer
from MedSAMSegmentLib.models.build import build_model
from MedSAMSegmentLib.models.sam import SAM
from MedSAMSegmentLib.models.specification import ModelSpec
from MedSAMSegmentLib.models.tiny_vit import TinyViT
from MedSAMSegmentLib.models.vision_transformer import GridAttention, VisionTransformer, relative_table
from small_networks import SMALL, TINY_VIT, VIT, entry, small_network


@pytest.fixture(scope="module", params=["sam", "sam-tiny-vit"])
def network(request: pytest.FixtureRequest) -> SAM:
    return small_network(architecture=request.param)


@pytest.mark.parametrize("size", [(64, 64), (96, 64), (128, 160)])
def test_one_network_serves_all_image_sizes(network: SAM, size: tuple[int, int]) -> None:
    embedding = network.encode_image(torch.randn(1, 3, *size))
    decoded = network.decode(embedding, torch.tensor([[[9.0, 12.0]]]), torch.tensor([[1]]), multimask=True)
    assert embedding.shape == (1, 32, size[0] // network.stride, size[1] // network.stride)
    assert decoded.candidate_logits.shape == (1, 3, size[0] * 4 // network.stride, size[1] * 4 // network.stride)
    assert torch.equal(decoded.iou, decoded.candidate_ious.amax(dim=1, keepdim=True))


def test_objects_do_not_influence_each_other(network: SAM) -> None:
    embedding = network.encode_image(torch.randn(1, 3, 64, 64))
    corners = torch.tensor([[[5.0, 6.0], [40.0, 50.0]], [[20.0, 8.0], [60.0, 30.0]]])
    labels = torch.tensor([[2, 3], [2, 3]])
    together = network.decode(embedding, corners, labels).low_res_logits
    apart = torch.cat([network.decode(embedding, corners[i : i + 1], labels[i : i + 1]).low_res_logits for i in (0, 1)])
    assert torch.allclose(together, apart, atol=1e-4)
    assert not torch.allclose(together[0], together[1], atol=1e-2)


def test_points_are_padded_unless_there_is_a_box(network: SAM) -> None:
    point, corners = torch.tensor([[[9.0, 12.0]]]), torch.tensor([[[5.0, 6.0], [40.0, 50.0]]])
    size = (64, 64)
    alone, _ = network.encode_prompts(point, torch.tensor([[1]]), None, size)
    box, _ = network.encode_prompts(corners, torch.tensor([[2, 3]]), None, size)
    both, _ = network.encode_prompts(torch.cat([point, corners], dim=1), torch.tensor([[1, 2, 3]]), None, size)
    assert [tokens.shape[1] for tokens in (alone, box, both)] == [2, 2, 3]
    assert torch.equal(alone[0, 1], network.prompt_encoder.not_a_point_embed.weight[0])


def test_an_earlier_mask_of_any_size_is_a_prompt(network: SAM) -> None:
    embedding = network.encode_image(torch.randn(1, 3, 64, 64))
    without = network.decode(embedding).low_res_logits
    with_mask = network.decode(embedding, mask_input=torch.randn(1, 1, 50, 50) * 8).low_res_logits
    assert with_mask.shape == without.shape
    assert not torch.allclose(with_mask, without, atol=1e-3)


def test_relative_positions_follow_their_definition_however_the_work_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    attention = GridAttention(24, heads=2, relative_grid=5).requires_grad_(False)
    for table in (attention.rel_pos_h, attention.rel_pos_w):
        torch.nn.init.normal_(table)
    height, width = 3, 5
    x = torch.randn(2, height, width, 24)
    query, key, value = attention.qkv(x).reshape(2, 15, 3, 2, 12).permute(2, 0, 3, 1, 4)
    rows, columns = relative_table(attention.rel_pos_h, height), relative_table(attention.rel_pos_w, width)
    logits = query @ key.transpose(-1, -2) / 12**0.5
    for i in range(15):
        for j in range(15):
            away = rows[i // width, j // width] + columns[i % width, j % width]
            logits[:, :, i, j] += (query[:, :, i] * away).sum(-1)
    expected = attention.proj((logits.softmax(-1) @ value).transpose(1, 2).reshape(2, height, width, 24))
    for elements in (1, 2**25):
        monkeypatch.setattr(vision_transformer, "_BIAS_ELEMENTS", elements)
        assert torch.allclose(attention(x), expected, atol=1e-5)


def test_a_plain_transformer_sees_across_its_windows() -> None:
    torch.manual_seed(0)
    trunk = VisionTransformer(**VIT).requires_grad_(False)
    image = torch.randn(1, 3, 96, 96)
    changed = image.clone()
    changed[..., :16, :16] += 1
    assert (trunk(changed)[0] - trunk(image)[0])[..., -1, -1].abs().max() > 0


def test_tiny_vit_says_its_stride() -> None:
    for patch_kernel, patch_stride, stride in ((3, 2, 16), (1, 1, 4)):
        trunk = TinyViT(16, **TINY_VIT, patch_kernel=patch_kernel, patch_stride=patch_stride, classes=0).eval()
        with torch.no_grad():
            level = trunk(torch.randn(1, 3, 64, 64))[-1]
        assert trunk.strides == [stride]
        assert level.shape == (1, 16, 64 // stride, 64 // stride)


def test_a_model_without_a_way_through_a_volume_is_refused() -> None:
    spec = ModelSpec.from_dict(entry(architecture="classifier"))
    with pytest.raises(CheckpointError) as caught:
        make_predictor(LoadedModel(spec, torch.nn.Identity(), "none", torch.device("cpu")))
    assert caught.value.code == "ARCHITECTURE_NOT_TRACKED"


def test_a_hyper_parameter_that_the_family_fixes_cannot_be_set() -> None:
    groups = {**SMALL["efficient-tam"], "trunk": {**VIT, "relative_positions": True}}
    with pytest.raises(CheckpointError, match=r"trunk\.relative_positions"):
        build_model(ModelSpec.from_dict(entry(architecture="efficient-tam", hyper_parameters=groups)))
    assert np.isfinite(
        small_network(architecture="efficient-tam").encode_image(torch.randn(1, 3, 64, 64)).embedding.numpy()
    ).all()
