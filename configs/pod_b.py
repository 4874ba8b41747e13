"""ViT-B/16 on a pod or a cluster: a large batch, logits in chunks, averaged weights."""

from configs import vit_b


def get_config():
    c = vit_b.get_config()
    c.optim.warmup_steps = 4000
    c.train.batch_size = 16_384  # 64 patches to a chip of v5e-256
    c.train.loss_chunk = 2048
    c.train.num_steps = 20_000
    c.train.ema = 0.999
    c.train.save_every = 500
    return c
