"""The seven runs that the weights that ship come from.

--config=configs/vit_ti_128.py:first, then :second and :third, each with
--config.train.init_model=LAST; then, both with that of the third and with photos of simulated
cameras beside the real ones (--config.data.more_records=SIMULATED, `python -m data_prep.simulate
--scenes`), :fourth and, with more of them, :fifth. Then, from the mean of these two
(`exif_jax.average`), :sixth, which trains a larger text encoder beside the image encoder as it is;
and from that, on more photos and with shrunk ones beside them (--config.data.more_records),
:seventh, without positions and on patches of many sizes.
"""

from configs import vit_ti_cpu

RUNS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh")


def get_config(run: str = "first"):
    c = vit_ti_cpu.get_config()
    c.train.ema = 0.998
    if run not in RUNS:
        raise ValueError(f"configs/vit_ti_128.py:{run}: choose one of {', '.join(RUNS)}")
    if run != "first":
        c.data.contrast_prob = 0.5
        c.optim.warmup_steps = 100
        c.train.num_steps = 4000
    if run in RUNS[2:]:  # what is done to pictures after they leave the camera
        c.data.filter_prob = 0.15
        c.data.save_prob = 0.7
        c.data.shrink_prob = 0.3
        c.data.noise_prob = 0.3
        c.optim.lr = 5e-4
        c.train.num_steps = 1400
    if run in RUNS[3:]:
        c.data.cache_regions = 4096
        c.optim.lr = 6e-4
        c.train.num_steps = 1500 if run == "fourth" else 3500
    if run in RUNS[5:]:
        c.model.text.width, c.model.text.depth = 256, 6
        c.model.text.heads, c.model.text.mlp_dim = 4, 1024
    if run == "sixth":
        c.train.init_parts = ("image", "image_projection", "log_scale", "log_image_scale")
        c.optim.frozen = ("image", "image_projection", "log_image_scale")
    if run == "seventh":
        c.data.patch_sizes = (32, 48, 64, 96, 128)
        c.model.image.positions = "none"
        c.optim.frozen = ("text", "text_projection")
        c.optim.schedule = "wsd"
        c.optim.decay_fraction = 0.3
        c.data.patches_per_text = 4
        c.train.batch_size = 256
        c.train.num_steps = 8000
    return c
