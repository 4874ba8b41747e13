"""A small ViT on 128-pixel patches with a small text transformer, for two CPU cores."""

from configs import vit_b


def get_config():
    c = vit_b.get_config()
    c.data.keep_tag_prob = 0.6
    c.data.cache_regions = 2048
    c.model.embed_dim = 192
    c.model.init_temperature = 0.1
    c.model.image.image_size = 128
    c.model.image.width = 192
    c.model.image.depth = 2
    c.model.image.heads = 3
    c.model.image.mlp_dim = 768
    c.model.text.max_length = 64
    c.model.text.width = 128
    c.model.text.depth = 2
    c.model.text.heads = 2
    c.model.text.mlp_dim = 512
    c.optim.lr = 1e-3
    c.optim.warmup_steps = 50
    c.optim.weight_decay = 0.05
    c.train.batch_size = 128
    c.train.num_steps = 2400
    c.train.dtype = "float32"  # the backward pass in bfloat16 is slower on a CPU
    c.train.log_every = 20
    c.train.eval_every = 250
    c.train.save_every = 100
    return c
