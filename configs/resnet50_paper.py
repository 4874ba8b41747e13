"""The paper's model and recipe, as released: ResNet-50 on 124-pixel patches and DistilBERT."""

from ml_collections import ConfigDict

from configs import vit_b


def get_config() -> ConfigDict:
    c = vit_b.get_config()
    c.data.texts_per_photo = 1  # one patch of each photo with the photo's own text,
    c.data.patches_per_text = 1
    c.data.rescale_prob = c.data.recompress_prob = 0.0  # and nothing done to it
    c.data.shift_prob = c.data.save_prob = 0.0
    c.data.keep_tag_prob = 1.0
    c.data.shuffle_tags = False

    c.model.embed_dim = 768  # the width of DistilBERT, whose texts are not projected
    c.model.init_temperature = 0.01  # CLIP's trained value
    c.model.image = ConfigDict()
    c.model.image.kind = "resnet"
    c.model.image.image_size = 124  # side of a patch, pixels
    c.model.image.width = 64  # channels after the stem
    c.model.image.stages = (3, 4, 6, 3)  # blocks of a ResNet-50
    c.model.text = ConfigDict()
    c.model.text.kind = "distilbert"
    c.model.text.max_length = 512  # pieces
    c.model.text.width = 768
    c.model.text.depth = 6
    c.model.text.heads = 12
    c.model.text.mlp_dim = 3072

    c.optim.lr = 1e-4
    c.optim.end_lr = 1e-7
    c.optim.warmup_steps = 3650  # 5 of 100 epochs
    c.optim.weight_decay = 1e-4
    c.optim.weight_decay_type = "l2"
    c.optim.clip_norm = 0.0
    c.optim.frozen = ("log_scale", "log_image_scale")

    c.train.image_weight = 0.0  # the paper has no loss between patches
    c.train.init_image = ""  # torchvision's ResNet-50 (.pth), to begin as the paper does
    return c
