"""The paper's model: ResNet-50 on 124-pixel patches and DistilBERT, temperature 0.01 to begin."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    c = ConfigDict()

    c.data = ConfigDict()
    c.data.records = ""  # folder that `python -m data_prep.photos` wrote
    c.data.seed = 0
    c.data.texts_per_photo = 1  # one patch of each photo with the photo's own text,
    c.data.patches_per_text = 1
    c.data.rescale = 0.0  # and no processing after the camera's
    c.data.recompress = 0.0
    c.data.shift = 0.0
    c.data.denoise = 0.0
    c.data.save = 0.0
    c.data.keep_tag = 1.0
    c.data.shuffle_tags = False
    c.data.cache_regions = 256
    c.data.corrupt_share = 0.01
    c.data.reader = "auto"

    c.model = ConfigDict()
    c.model.embed_dim = 768  # the width of DistilBERT, whose texts are not projected
    c.model.init_temperature = 0.01  # CLIP's trained value; the bound of the learned one
    c.model.image = ConfigDict()
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

    c.optim = ConfigDict()
    c.optim.lr = 1e-4
    c.optim.end_lr = 1e-7
    c.optim.warmup_steps = 7300  # 5 of the 50 to 100 epochs
    c.optim.b1 = 0.9
    c.optim.b2 = 0.98
    c.optim.eps = 1e-6
    c.optim.weight_decay = 1e-4  # decoupled, and of matrices alone; the paper's is Adam's own
    c.optim.clip_norm = 1.0

    c.train = ConfigDict()
    c.train.batch_size = 1024
    c.train.image_weight = 0.0  # the paper has no loss between patches
    c.train.loss_chunk = 0
    c.train.init_image = ""  # torchvision's ResNet-50 (.pth), to begin as the paper does
    c.train.num_steps = 73_000
    c.train.dtype = "bfloat16"
    c.train.max_skipped = 5
    c.train.seed = 0
    c.train.log_every = 50
    c.train.profile_steps = 0
    c.train.eval_every = 1000
    c.train.save_every = 1000
    c.train.keep_checkpoints = 3

    c.mesh = ConfigDict()
    c.mesh.data = -1
    c.mesh.fsdp = 1
    return c
