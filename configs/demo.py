"""A small model on simulated photos, for `make demo`: too short a run to learn much."""

from configs import vit_ti_cpu


def get_config():
    c = vit_ti_cpu.get_config()
    c.data.rescale = 0.0  # no processing: the cameras' own traces only
    c.data.recompress = 0.0
    c.data.shift = 0.0
    c.optim.lr = 1e-3
    c.optim.warmup_steps = 30
    c.train.batch_size = 128
    c.train.num_steps = 200
    return c
