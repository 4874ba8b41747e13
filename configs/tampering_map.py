"""The learned map that ships: `python -m exif_jax.train_map --config=configs/tampering_map.py`.

Any field can be changed on the command line, like --config.train.num_steps=40000: the same command
with a larger number makes a run longer, from its last step before the learning rate fell.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()

    c.data = ml_collections.ConfigDict()
    c.data.pool = "map_pool"  # folder of pixels, made of photos and pieces where it is missing
    c.data.photos = ()  # folders of whole photos: originals, shrunk ones, or both
    c.data.pieces = ()  # folders of pieces cut from originals at full size
    c.data.seed = 0
    c.data.workers = 2  # processes that make composites
    c.data.validation = 16  # composites of each kind, of photos held out

    c.model = ml_collections.ConfigDict()  # exif_jax/models/tampering_map.py
    c.model.block_width = 64
    c.model.width = 128
    c.model.hidden = 192
    c.model.radii = (3, 7, 3, 9)
    c.model.fine_radii = (3, 7)
    c.model.references = 4
    c.model.alike = (2, 4)
    c.model.head_width = 32
    c.model.windows = (48, 96)
    c.model.convolutions = (128, 128)

    c.optim = ml_collections.ConfigDict()  # configs/vit_b.py explains these
    c.optim.schedule = "wsd"
    c.optim.lr = 2e-3
    c.optim.end_lr = 1e-5
    c.optim.warmup_steps = 100
    c.optim.decay_fraction = 0.25
    c.optim.b1 = 0.9
    c.optim.b2 = 0.99
    c.optim.weight_decay = 0.02
    c.optim.clip_norm = 1.0

    c.train = ml_collections.ConfigDict()
    c.train.batch_size = 24  # pictures of 256 x 192; larger ones come fewer to a batch
    c.train.num_steps = 5000
    # Weights to begin from, such as those that ship; of fewer residual blocks, too.
    c.train.init = ""
    c.train.ema = 0.998  # moving average of the weights, which is what a run releases
    c.train.seed = 0
    c.train.max_skipped = 5  # steps in a row without a finite loss that end the run
    c.train.log_every = 50
    c.train.eval_every = 500
    c.train.save_every = 250
    c.train.keep_checkpoints = 3

    c.mesh = ml_collections.ConfigDict()  # configs/vit_b.py explains these
    c.mesh.data = -1
    c.mesh.fsdp = 1
    return c
