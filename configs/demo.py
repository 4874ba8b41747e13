"""A tiny model on simulated photos: `make demo`, minutes on two CPU cores."""

from configs import vit_ti_cpu


def get_config():
    c = vit_ti_cpu.get_config()
    c.data.rescale = 0.0  # the demo shows that cameras alone suffice
    c.data.recompress = 0.0
    c.data.shift = 0.0
    c.model.embed_dim = 128
    c.model.image.image_size = 64
    c.model.image.token_size = 16
    c.model.image.width = 192
    c.model.image.heads = 3
    c.model.image.mlp_dim = 768
    c.model.text.max_length = 64
    c.optim.lr = 1e-3
    c.optim.warmup_steps = 30
    c.train.batch_size = 128
    c.train.num_steps = 500
    return c
