"""The four runs that the weights that ship come from; each begins with the weights of the last.

--config=configs/vit_ti_128.py:first, then :second, :third and :fourth with
--config.train.init_model=LAST; the fourth with photos of simulated cameras beside the real ones,
--config.data.more_records=SIMULATED (`python -m data_prep.simulate --scenes`)
"""

from configs import vit_ti_cpu


def get_config(run: str = "first"):
    c = vit_ti_cpu.get_config()
    c.train.ema = 0.998
    if run in ("second", "third", "fourth"):
        c.data.contrast = 0.5
        c.optim.warmup_steps = 100
        c.train.num_steps = 4000
    if run in ("third", "fourth"):  # what befalls pictures on their way
        c.data.filter = 0.15
        c.data.save = 0.7
        c.data.shrink = 0.3
        c.data.noise = 0.3
        c.optim.lr = 5e-4
        c.train.num_steps = 1400
    if run == "fourth":
        c.data.cache_regions = 4096
        c.optim.lr = 6e-4
        c.train.num_steps = 1500
    if run not in ("first", "second", "third", "fourth"):
        raise ValueError(f"configs/vit_ti_128.py:{run}: choose first, second, third or fourth")
    return c
