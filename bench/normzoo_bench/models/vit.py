"""A small vision transformer (arXiv:2010.11929), to put "layer norm for transformers" to the test."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normzoo_bench.errors import UsageError
from normzoo_bench.models.registry import Shape, register

MOST_PATCHES = 8  # along a side, which gives 64 tokens


@register("vit")
def vit(shape: Shape, classes: int) -> nn.Module:
    """A pre-norm vision transformer of 6 blocks, 96 wide, 3 heads, the mean over tokens; at most 8×8 patches.

    Raises:
        UsageError: for images that no whole number of patches covers.

    """
    return SmallViT(shape, classes, wide=96, blocks=6, heads=3)


def patch_size(shape: Shape) -> int:
    """Give the least power of two from 2 on that cuts neither side into more than 8: 2 for 8×8 images, 4 for 32×32.

    Raises:
        UsageError: for images that no whole number of such patches covers.

    """
    _, height, width = shape
    size = 1 << max(1, math.ceil(math.log2(max(height, width) / MOST_PATCHES)))
    if height % size or width % size:
        raise UsageError(
            f"vit cuts images into patches of {size}×{size} pixels, and {height}×{width} is no multiple of it; "
            f"try dataset=…(size={math.ceil(max(height, width) / size) * size})"
        )
    return size


class SmallViT(nn.Module):
    """Vision transformer without a class token, whose norm layers see [N, tokens, channels]."""

    def __init__(self, shape: Shape, classes: int, wide: int, blocks: int, heads: int) -> None:
        super().__init__()
        patch = patch_size(shape)
        self.patches = nn.Conv2d(shape[0], wide, patch, patch)
        self.positions = nn.Parameter(torch.zeros(1, (shape[1] // patch) * (shape[2] // patch), wide))
        self.blocks = nn.Sequential(*(_Block(wide, heads) for _ in range(blocks)))
        self.norm = nn.LayerNorm(wide)
        self.head = nn.Linear(wide, classes)
        nn.init.trunc_normal_(self.positions, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def no_weight_decay(self) -> set[str]:
        """Name the parameters that weight decay leaves alone; the trainer asks, as timm's does."""
        return {"positions"}

    def forward(self, x: Tensor) -> Tensor:
        """Give logits [N, classes] for x [N, C, H, W]."""
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.positions  # [N, tokens, channels]
        logits: Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return logits


class _Block(nn.Module):
    # not nn.TransformerEncoderLayer: in eval it computes layer norms of its own from what norm1 and norm2 hold,
    # and never calls what they were converted to
    def __init__(self, wide: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(wide), _Attention(wide, heads)
        self.norm2 = nn.LayerNorm(wide)
        self.mlp = nn.Sequential(nn.Linear(wide, 4 * wide), nn.GELU(), nn.Linear(4 * wide, wide))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class _Attention(nn.Module):
    def __init__(self, wide: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project, self.out = nn.Linear(wide, 3 * wide), nn.Linear(wide, wide)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, wide = x.shape
        split = self.project(x).reshape(n, tokens, 3, self.heads, wide // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)  # each [N, heads, tokens, wide / heads]
        y = F.scaled_dot_product_attention(query, key, value)
        mixed: Tensor = self.out(y.transpose(1, 2).reshape(n, tokens, wide))
        return mixed
