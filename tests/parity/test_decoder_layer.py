"""Guards the decoder's layer against PyTorch's own with the same weights, on masked memories."""

import pytest
import torch
from torch import nn

from sonorant.nn.decoder import DecoderConfig, DecoderLayer

DIM, HEADS = 12, 3


@pytest.fixture(scope="module")
def layers():
    torch.manual_seed(1)
    theirs = nn.TransformerDecoderLayer(
        DIM, HEADS, dim_feedforward=20, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    ).double()
    for each in theirs.parameters():
        nn.init.normal_(each, std=0.4)
    ours = DecoderLayer(DecoderConfig(dim=DIM, heads=2, feedforward=20, dropout=0.0), DIM).double()
    ours.attention.heads = ours.cross.heads = HEADS
    across = theirs.multihead_attn
    queries, rest = across.in_proj_weight.split([DIM, 2 * DIM])
    query_bias, rest_bias = across.in_proj_bias.split([DIM, 2 * DIM])
    pairs = {
        "attention.inward.weight": theirs.self_attn.in_proj_weight,
        "attention.inward.bias": theirs.self_attn.in_proj_bias,
        "cross.queries.weight": queries,
        "cross.queries.bias": query_bias,
        "cross.inward.weight": rest,
        "cross.inward.bias": rest_bias,
    }
    modules = {
        "attention.outward": theirs.self_attn.out_proj,
        "cross.outward": across.out_proj,
        "attention_norm": theirs.norm1,
        "cross_norm": theirs.norm2,
        "feedforward_norm": theirs.norm3,
        "feedforward.0": theirs.linear1,
        "feedforward.3": theirs.linear2,
    }
    pairs |= {
        f"{name}.{key}": getattr(each, key) for name, each in modules.items() for key in each.state_dict()
    }
    ours.load_state_dict(pairs)
    return ours, theirs


def test_a_layer_is_pytorchs_with_the_same_weights(layers):
    ours, theirs = layers
    generator = torch.Generator().manual_seed(2)
    values, memory = (torch.randn(2, size, DIM, generator=generator).double() for size in (5, 7))
    lengths = torch.tensor([7, 4])
    known = torch.arange(7) < lengths[:, None]
    causal = torch.ones(5, 5, dtype=torch.bool).tril()
    with torch.no_grad():  # else it computes in single precision
        found, _ = ours(
            values, None, causal[None, None], ours.cross.split(memory), known[:, None, None], None
        )
    expected = theirs(values, memory, tgt_mask=~causal, memory_key_padding_mask=~known)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    assert (found - values).abs().max() > 0.1
