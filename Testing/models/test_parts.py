"""Parts of the networks against the definitions of what they compute."""

from __future__ import annotations

import pytest
import torch
from MedSAMSegmentLib.models.hiera import Hiera
from MedSAMSegmentLib.models.layers import LayerNorm2d
from MedSAMSegmentLib.models.memory_attention import RotaryAttention
from MedSAMSegmentLib.models.position_encoding import RandomFourierEncoding, RotaryTable, SineEncoding2d
from MedSAMSegmentLib.models.prompt_encoder import PromptEncoder
from MedSAMSegmentLib.models.two_way_transformer import Attention
from MedSAMSegmentLib.models.windows import partition, unpartition


def _turned(x: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Axial rotary encoding by its definition: neighbouring channels are a complex number, turned by its angle."""
    dim = x.shape[-1]
    frequency = 10000.0 ** (-torch.arange(0, dim, 4)[: dim // 4] / dim)
    token = torch.arange(grid[0] * grid[1])
    angle = torch.cat([(token % grid[1])[:, None] * frequency, (token // grid[1])[:, None] * frequency], dim=1)
    turned = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2).contiguous()) * torch.polar(torch.ones(()), angle)
    return torch.view_as_real(turned).flatten(-2)


def _attention_by_definition(
    layer: RotaryAttention,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    grid: tuple[int, int],
    extra: int,
) -> torch.Tensor:
    split = lambda x: x.unflatten(-1, (layer.heads, -1)).transpose(1, 2)  # noqa: E731
    q, k, v = split(layer.q_proj(query)), split(layer.k_proj(key)), split(layer.v_proj(value))
    tokens = grid[0] * grid[1]
    placed = [_turned(part, grid) for part in k[:, :, : k.shape[2] - extra].split(tokens, dim=2)]
    k = torch.cat([*placed, k[:, :, k.shape[2] - extra :]], dim=2)
    weights = (_turned(q, grid) @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
    return layer.out_proj((weights @ v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("memory_dim", [8, 48])
@pytest.mark.parametrize("learning", [True, False])
def test_rotary_attention_is_what_the_complex_form_says(heads: int, memory_dim: int, learning: bool) -> None:
    torch.manual_seed(0)
    grid, extra = (3, 5), 4
    layer = RotaryAttention(32, memory_dim, heads)
    query, key = torch.randn(2, 15, 32), torch.randn(2, 2 * 15 + extra, memory_dim)
    value = torch.randn_like(key)
    cosine, sine = RotaryTable(32 // heads)(grid, query)
    nothing = torch.zeros(extra, cosine.shape[1])
    of_keys = torch.cat([cosine, cosine, nothing + 1]), torch.cat([sine, sine, nothing])
    with torch.set_grad_enabled(learning):
        ours = layer(query, key, value, (cosine, sine), of_keys)
        assert torch.allclose(ours, _attention_by_definition(layer, query, key, value, grid, extra), atol=1e-5)


@pytest.mark.parametrize("size", [(12, 12), (13, 9), (5, 22)])
def test_windows_go_back_to_their_places(size: tuple[int, int]) -> None:
    x = torch.randn(2, *size, 3)
    assert torch.equal(unpartition(partition(x, 6), size), x)


def test_hiera_gives_four_levels_finest_first_and_sees_across_windows() -> None:
    torch.manual_seed(0)
    trunk = Hiera(embed_dim=8, stages=(1, 1, 2, 1), global_attention_blocks=(3,), windows=(4, 4, 6, 3)).eval()
    image = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        levels = trunk(image)
        changed = image.clone()
        changed[..., :4, :4] += 1
        far_corner = (trunk(changed)[2] - levels[2])[..., -1, -1]
    shapes = [tuple(level.shape[1:]) for level in levels]
    assert shapes == [(8, 24, 32), (16, 12, 16), (32, 6, 8), (64, 3, 4)]
    assert far_corner.abs().max() > 0


def test_layer_norm_over_channels_is_torchs() -> None:
    x = torch.randn(2, 6, 4, 5)
    layer = LayerNorm2d(6)
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    expected = torch.nn.functional.layer_norm(x.permute(0, 2, 3, 1), (6,), layer.weight, layer.bias, 1e-6)
    assert torch.allclose(layer(x), expected.permute(0, 3, 1, 2), atol=1e-5)


def test_sine_encoding_follows_rows_in_its_first_half_and_columns_in_its_second() -> None:
    encoding = SineEncoding2d(16)(torch.zeros(1, 1, 5, 7))[0]
    assert encoding.shape == (16, 5, 7)
    assert torch.equal(encoding[:8, :, 0], encoding[:8, :, 6])
    assert torch.equal(encoding[8:, 0], encoding[8:, 4])
    last = 2 * torch.pi * torch.tensor(1.0)
    assert torch.allclose(encoding[0, 4, 0], last.sin(), atol=1e-4)
    assert torch.allclose(encoding[1, 4, 0], last.cos(), atol=1e-4)


def test_tables_of_one_size_do_not_leak_into_inference_or_training() -> None:
    encoding = SineEncoding2d(8)
    with torch.inference_mode():
        encoding(torch.zeros(1, 1, 4, 4))
    learned = torch.ones(1, 8, 4, 4, requires_grad=True)
    (learned * encoding(learned)).sum().backward()
    assert learned.grad is not None


def test_a_point_at_a_cell_centre_is_encoded_as_that_cell() -> None:
    encoder = PromptEncoder(dim=16)
    grid, image_size = (4, 6), (64, 96)
    cells = encoder.dense_position(grid)
    centre = torch.tensor([[[2.5 * 16 - 0.5, 1.5 * 16 - 0.5]]])  # column 2, row 1; half a pixel is added inside
    token = encoder.embed_points(centre, torch.tensor([[1]]), image_size, pad=False)
    assert torch.allclose(token[0, 0] - encoder.point_embeddings[1].weight[0], cells[0, :, 1, 2], atol=1e-5)


def test_padding_points_have_no_position() -> None:
    encoder = PromptEncoder(dim=16)
    places = torch.tensor([[[3.0, 4.0], [60.0, 9.0]]])
    tokens = encoder.embed_points(places, torch.tensor([[-1, -1]]), (64, 64), pad=True)
    assert torch.equal(tokens, encoder.not_a_point_embed.weight.expand(1, 3, -1))


def test_without_prompts_there_are_no_tokens_and_the_no_mask_embedding() -> None:
    encoder = PromptEncoder(dim=16)
    sparse, dense = encoder(None, None, None, grid=(3, 5), image_size=(48, 80), pad=False)
    assert sparse.shape == (1, 0, 16)
    assert torch.equal(dense, encoder.no_mask_embed.weight.view(1, 16, 1, 1).expand(1, 16, 3, 5))


def test_fourier_encoding_has_the_length_of_its_frequencies() -> None:
    encoding = RandomFourierEncoding(32)(torch.rand(5, 2))
    assert torch.allclose(encoding.square().sum(-1), torch.full((5,), 16.0), atol=1e-4)


@pytest.mark.parametrize(
    ("asking", "asked"), [((3, 2), (1, 60)), ((3, 2), (3, 60)), ((1, 60), (3, 2)), ((3, 9), (3, 7))]
)
def test_attention_between_few_tokens_and_an_image_is_attention(
    asking: tuple[int, int], asked: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    attention = Attention(32, heads=4, downsample=2)
    query, key, value = torch.randn(*asking, 32), torch.randn(*asked, 32), torch.randn(*asked, 32)
    q, k, v = (
        layer(x).unflatten(-1, (4, 4)).transpose(1, 2)
        for layer, x in ((attention.q_proj, query), (attention.k_proj, key), (attention.v_proj, value))
    )
    share = (q @ k.transpose(2, 3) / 2.0).softmax(dim=-1)
    expected = attention.out_proj((share @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(query, key, value), expected, rtol=1e-4, atol=1e-5)
