"""The training step of benchmarks/train.py in PyTorch, written as its users would: for comparison.

The same layers, widths, losses and optimiser: pre-norm transformers with fused attention, InfoNCE
both ways and among patches, AdamW, bfloat16 by autocast, torch.compile. It embeds pixels as they
are, without our log spectra, which is a little less work. A process of its own: PyTorch's compiler
and JAX in one have crashed.
"""

from __future__ import annotations

import json
import sys
import time
import types

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    def __init__(self, width: int, heads: int, mlp_dim: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp1, self.mlp2 = nn.Linear(width, mlp_dim), nn.Linear(mlp_dim, width)

    def forward(self, x, mask=None):
        B, T, D = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(B, T, 3, self.heads, D // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.out(y.transpose(1, 2).reshape(B, T, D))
        return x + self.mlp2(functional.gelu(self.mlp1(self.norm2(x))))


class DualEncoder(nn.Module):
    """Of a `DualEncoderConfig` with a ViT pooled by mean and standard deviation."""

    def __init__(self, config):
        super().__init__()
        image, text = config.image, config.text
        self.token_size = image.token_size
        self.embed = nn.Linear(3 * image.token_size**2, image.width)
        self.position = nn.Parameter(torch.randn(image.num_tokens, image.width) * 0.02)
        self.blocks = nn.ModuleList(
            Block(image.width, image.heads, image.mlp_dim) for _ in range(image.depth)
        )
        self.norm = nn.LayerNorm(image.width)
        self.pieces = nn.Embedding(text.vocab_size, text.width)
        self.text_position = nn.Parameter(torch.randn(text.max_length, text.width) * 0.01)
        self.text_blocks = nn.ModuleList(
            Block(text.width, text.heads, text.mlp_dim) for _ in range(text.depth)
        )
        self.text_norm = nn.LayerNorm(text.width)
        self.project = nn.Linear(2 * image.width, config.embed_dim, bias=False)
        self.text_project = nn.Linear(text.width, config.embed_dim, bias=False)
        self.log_scales = nn.Parameter(torch.full((2,), 2.659))

    def forward(self, images, tokens, mask):
        B, S = images.shape[:2]
        n, t = S // self.token_size, self.token_size
        x = images.float() / 127.5 - 1
        x = x.reshape(B, n, t, n, t, 3).transpose(2, 3).reshape(B, n * n, -1)
        x = self.embed(x) + self.position
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        x = torch.cat([x.mean(1), (x.var(1, unbiased=False) + 1e-6).sqrt()], dim=1)
        y = self.pieces(tokens) + self.text_position[: tokens.shape[1]]
        for block in self.text_blocks:
            y = block(y, mask[:, None, None, :])
        y = self.text_norm(y)
        weight = mask[:, :, None].to(y.dtype)
        y = (y * weight).sum(1) / weight.sum(1)
        z_img, z_txt = self.project(x).float(), self.text_project(y).float()
        return functional.normalize(z_img, dim=1), functional.normalize(z_txt, dim=1)


def loss_of(model, batch, image_weight: float):
    z_img, z_txt = model(batch["image"], batch["tokens"], batch["token_mask"])
    scale, image_scale = model.log_scales.exp()
    ids = batch["text_id"]
    label = ids.repeat_interleave(len(z_img) // len(ids))

    def pick(logits, positive):
        log_p = torch.where(positive, functional.log_softmax(logits, dim=1), 0.0)
        return -(log_p.sum(1) / positive.sum(1).clamp(min=1)).mean()

    logits, positive = scale * z_img @ z_txt.T, label[:, None] == ids[None]
    loss = (pick(logits, positive) + pick(logits.T, positive.T)) / 2
    if image_weight:
        itself = torch.eye(len(z_img), dtype=torch.bool, device=z_img.device)
        among = (image_scale * z_img @ z_img.T).moptions_fill(itself, -1e9)
        loss = loss + image_weight * pick(among, (label[:, None] == label[None]) & ~itself)
    return loss


def seconds_a_step(
    config, batch_size: int, patches_per_text: int, dtype: str, image_weight: float, repeats: int
) -> float:
    """Median seconds of a step on a random batch, after compiling and warming up."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high" if dtype == "bfloat16" else "highest")
    model = DualEncoder(config).to(device)
    adamw = torch.optim.AdamW(
        model.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-6, fused=device == "cuda"
    )
    S, L, G = config.image.image_size, config.text.max_length, batch_size // patches_per_text
    batch = {
        "image": torch.randint(0, 256, (batch_size, S, S, 3), dtype=torch.uint8),
        "tokens": torch.randint(2, config.text.vocab_size, (G, L)),
        "token_mask": torch.ones(G, L, dtype=torch.bool),
        "text_id": torch.arange(G),
    }
    batch = {name: x.to(device) for name, x in batch.items()}

    def step():
        adamw.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = loss_of(model, batch, image_weight)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adamw.step()
        return loss

    if device == "cuda":
        model.compile()
    times = []
    for k in range(repeats + 3):
        started = time.perf_counter()
        step()
        if device == "cuda":
            torch.cuda.synchronize()
        if k >= 3:
            times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]


if __name__ == "__main__":
    # What benchmarks/train.py hands over: the model's widths and how to step.
    options = json.loads(sys.argv[1])
    towers = {name: types.SimpleNamespace(**options[name]) for name in ("image", "text")}
    shape = types.SimpleNamespace(**towers, embed_dim=options["embed_dim"])
    shape.image.num_tokens = (shape.image.image_size // shape.image.token_size) ** 2
    print(seconds_a_step(shape, **options["step"]))
