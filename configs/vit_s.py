"""ViT-S/16 on 128-pixel patches: one GPU."""

from configs import vit_b


def get_config():
    c = vit_b.get_config()
    c.data.keep_tag_prob = 0.6
    c.model.embed_dim = 384
    c.model.image.image_size = 128
    c.model.image.width = 384
    c.model.image.heads = 6
    c.model.image.mlp_dim = 1536
    c.model.text.max_length = 192
    c.model.text.width = 384
    c.model.text.depth = 4
    c.model.text.heads = 6
    c.model.text.mlp_dim = 1536
    c.train.num_steps = 50_000
    return c
