"""ViT-B/16 with the sigmoid loss of SigLIP: no softmax over the batch."""

from configs import vit_b


def get_config():
    c = vit_b.get_config()
    c.model.init_temperature = 0.1  # SigLIP's first values
    c.model.init_bias = -10.0
    c.optim.b2 = 0.95
    c.train.loss = "sigmoid"
    c.train.batch_size = 4096
    c.train.loss_chunk = 1024
    return c
