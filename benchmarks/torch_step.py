"""The training step of benchmarks/train.py in PyTorch, written as its users would: for comparison.

The same layers, widths, losses and optimiser: pre-norm transformers with fused attention, InfoNCE
both ways and among patches, AdamW, bfloat16 by autocast, torch.compile on a GPU. It embeds the same
log spectra or, which is less work, pixels as they are. A process of its own, as PyTorch's compiler
and JAX in one have crashed; `benchmarks/torch_process.py` starts it.
"""

from __future__ import annotations

import json
import sys
import time
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from exif_jax.training.host_memory import keep_freed_memory


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


class LogSpectrum(nn.Module):
    """The features of `exif_jax.models.vit.log_spectrum`; the order within a token is its own."""

    def __init__(self):
        super().__init__()
        frequency, position = np.mgrid[:8, :8]
        basis = np.cos((2 * position + 1) * frequency * np.pi / 16) / 2
        basis[0] /= np.sqrt(2)
        log_radius = np.log(np.maximum(np.hypot(*np.mgrid[:8, :8]), 1)).ravel()
        mean = [2.54 - 1.09 * log_radius] + 2 * [0.84 - 0.37 * log_radius]
        std = [1.65 - 0.55 * log_radius] + 2 * [0.88 - 0.365 * log_radius]
        weight = 1 / np.maximum(std, 0.15)
        weight[:, 0] = 0
        luma = np.array([0.299, 0.587, 0.114])
        ycbcr = np.stack([luma, ([0, 0, 1] - luma) / 1.772, ([1, 0, 0] - luma) / 1.402])
        tables = {"basis": np.kron(basis, basis).T, "ycbcr": ycbcr}
        tables |= {"mean": np.array(mean), "weight": weight}
        for name, table in tables.items():
            self.register_buffer(name, torch.tensor(table, dtype=torch.float32), persistent=False)

    @torch.autocast("cuda", enabled=False)
    @torch.no_grad()
    def forward(self, images, token_size: int):
        """uint8 [B, S, S, 3] to float32 [B, T, 3 * token_size ** 2]."""
        B, S = images.shape[:2]
        n, k = S // token_size, token_size // 8
        basis, mean, weight = map(self.get_buffer, ("basis", "mean", "weight"))
        planes = images.permute(3, 0, 1, 2).float()
        red, green, blue = self.get_buffer("ycbcr").T.reshape(3, 3, 1, 1, 1)
        ycbcr = red * planes[:1] + green * planes[1:2] + blue * planes[2:]
        blocks = ycbcr.reshape(3, B, n, k, 8, n, k, 8).permute(1, 2, 5, 0, 3, 6, 4, 7)
        dct = blocks.reshape(B * n * n, 3, k * k, 64) @ basis
        features = (torch.log1p(dct.abs()) - mean[None, :, None]) * weight[None, :, None]
        return features.reshape(B, n * n, -1)


class DualEncoder(nn.Module):
    """Of a `DualEncoderConfig` with a ViT pooled by mean and standard deviation."""

    def __init__(self, config):
        super().__init__()
        image, text = config.image, config.text
        self.token_size = image.token_size
        self.spectra = LogSpectrum() if image.features == "spectrum" else None
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
        if self.spectra:
            x = self.spectra(images, t)
        else:
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
        among = (image_scale * z_img @ z_img.T).masked_fill(itself, -1e9)
        loss = loss + image_weight * pick(among, (label[:, None] == label[None]) & ~itself)
    return loss


def make_step(
    config, batch_size: int, patches_per_text: int, dtype: str, image_weight: float, features: str
):
    """A function that takes one step on a random batch."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high" if dtype == "bfloat16" else "highest")
    config.image.features = features
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
        if device == "cuda":
            torch.cuda.synchronize()

    if device == "cuda":
        model.compile()
    return step


def serve(shape, step_options: Mapping[str, Any]) -> None:
    """Takes a step for every line that comes in, and prints its seconds and those of all cores."""
    keep_freed_memory()  # as our own training does
    step = make_step(shape, **step_options)
    for _ in range(3):
        step()
    print([0.0, 0.0], flush=True)
    for _ in sys.stdin:
        started, cpu_started = time.perf_counter(), time.process_time()
        step()
        print([time.perf_counter() - started, time.process_time() - cpu_started], flush=True)


if __name__ == "__main__":
    # What TorchSteps hands over: the model's widths and how to step.
    model_options, step_options = json.loads(sys.argv[1])
    towers = {name: types.SimpleNamespace(**model_options[name]) for name in ("image", "text")}
    shape = types.SimpleNamespace(**towers, embed_dim=model_options["embed_dim"])
    shape.image.num_tokens = (shape.image.image_size // shape.image.token_size) ** 2
    serve(shape, step_options)
