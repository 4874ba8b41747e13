"""ViT-B/16 on 224-pixel patches with a 6-layer text transformer: for a GPU or a TPU."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    c = ConfigDict()

    c.data = ConfigDict()
    c.data.records = ""  # folder that `python -m data_prep.photos` wrote
    c.data.seed = 0  # order of the photos, choice of patches, processing
    c.data.rescale = 0.3  # share of patches rescaled by 0.5..1.5, and saying so in their text
    c.data.recompress = 0.5  # share recompressed as JPEG of quality 60..98, likewise
    c.data.shift = 0.3  # share cut off the JPEG grid, likewise
    c.data.ramp_steps = 5000  # steps over which these three shares grow from 0
    c.data.keep_tag = 0.8  # probability with which each tag stays in a text
    c.data.shuffle_tags = True  # tags in random order; otherwise in the vocabulary's order
    c.data.cache_regions = 256  # decoded regions kept in memory (0.6 MB each at 448 px)

    c.model = ConfigDict()
    c.model.embed_dim = 512  # width of the shared space
    c.model.init_temperature = 0.07  # learned from here on
    c.model.image = ConfigDict()
    c.model.image.image_size = 224  # side of a patch, pixels
    c.model.image.token_size = 16  # side of a token, pixels
    c.model.image.width = 768
    c.model.image.depth = 12
    c.model.image.heads = 12
    c.model.image.mlp_dim = 3072
    c.model.image.pool = "mean_std"  # or "mean", "cls"
    c.model.image.remove_token_mean = True  # look at texture, not at brightness and hue
    c.model.image.remat = False  # recompute activations in the backward pass to save memory
    c.model.text = ConfigDict()
    c.model.text.max_length = 256  # pieces; longer texts are cut
    c.model.text.width = 512
    c.model.text.depth = 6
    c.model.text.heads = 8
    c.model.text.mlp_dim = 2048
    c.model.text.remat = False

    c.optim = ConfigDict()
    c.optim.lr = 1e-3  # peak learning rate
    c.optim.end_lr = 1e-6
    c.optim.warmup_steps = 2000
    c.optim.b1 = 0.9
    c.optim.b2 = 0.98
    c.optim.eps = 1e-6
    c.optim.weight_decay = 0.1
    c.optim.clip_norm = 1.0  # gradients longer than this are scaled down to it

    c.train = ConfigDict()
    c.train.batch_size = 1024  # global, over all devices
    c.train.num_steps = 73_000  # the paper's number
    c.train.dtype = "bfloat16"  # of matrix products; parameters and loss stay float32
    c.train.seed = 0  # of the initial parameters
    c.train.log_every = 50  # steps
    c.train.eval_every = 1000
    c.train.save_every = 1000
    c.train.keep_checkpoints = 3

    c.mesh = ConfigDict()
    c.mesh.data = -1  # devices along the batch; -1: all that fsdp leaves
    c.mesh.fsdp = 1  # devices over which parameters and optimiser state are split
    return c
