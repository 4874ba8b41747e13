"""ViT-Ti/16 on 128-pixel patches: a small GPU."""

from configs import vit_s


def get_config():
    c = vit_s.get_config()
    c.model.embed_dim = 192
    c.model.image.width = 192
    c.model.image.heads = 3
    c.model.image.mlp_dim = 768
    c.model.text.width = 256
    c.model.text.heads = 4
    c.model.text.mlp_dim = 1024
    c.train.num_steps = 30_000
    return c
