"""The two runs that the weights that ship come from; the second begins with the first's weights.

--config=configs/vit_ti_128.py:first, then :second with --config.train.init_model=FIRST
"""

from configs import vit_ti_cpu


def get_config(run: str = "first"):
    c = vit_ti_cpu.get_config()
    c.train.ema = 0.998
    if run == "second":
        c.data.contrast = 0.5
        c.optim.warmup_steps = 100
        c.train.num_steps = 4000
    elif run != "first":
        raise ValueError(f"configs/vit_ti_128.py:{run}: choose first or second")
    return c
