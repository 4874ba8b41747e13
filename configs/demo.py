"""The small model on simulated photos, in the few minutes that `make demo` may take."""

from configs import vit_ti_cpu


def get_config():
    c = vit_ti_cpu.get_config()
    c.optim.warmup_steps = 30
    c.train.num_steps = 300
    c.train.eval_every = 100
    return c
