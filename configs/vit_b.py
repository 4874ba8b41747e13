"""ViT-B/16 on 224-pixel patches with a 6-layer text transformer: for a GPU or a TPU."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    c = ConfigDict()

    c.data = ConfigDict()
    c.data.records = ""  # folder that `python -m data_prep.photos` wrote
    c.data.more_records = ""  # another, whose training photos are trained on too: simulated ones
    c.data.seed = 0  # order of the photos, choice of patches, augmentation
    c.data.texts_per_photo = 2  # one augmentation each, so that scenes are no help
    c.data.patches_per_text = 2  # at least 2 for train.image_weight
    c.data.patch_sizes = ()  # sides of patches, of which each batch draws one; (): image_size
    # Probabilities that all patches of a text are augmented so; the text then says so.
    c.data.rescale_prob = 0.4  # rescaled by 0.5..1.5
    c.data.recompress_prob = 0.2  # recompressed as JPEG of quality 60..98
    c.data.shift_prob = 0.3  # cut off the JPEG grid
    c.data.filter_prob = 0.0  # smoothed or sharpened by one of augment.FILTERS
    c.data.contrast_prob = 0.0  # that a text's patches differ in gradient energy as far as possible
    # Probabilities of what is done to all patches of a batch afterwards; texts say nothing of it.
    c.data.shrink_prob = 0.0  # shrunk by 0.5..0.9
    c.data.noise_prob = 0.0  # then white noise of 1..5 levels
    c.data.save_prob = 0.6  # then saved as JPEG of quality 70..98
    c.data.augment_on = "host"  # Pillow on its cores; or "device": the same inside the step
    c.data.device_cache = (
        0  # bytes on each device where all regions stay, so that none is sent twice
    )
    c.data.keep_tag_prob = 0.8  # probability that a tag stays in a text
    c.data.shuffle_tags = True  # tags in random order; otherwise in the vocabulary's order
    c.data.tag_names = True  # "Make: Canon"; otherwise "Canon"
    c.data.tags = ()  # only these of the vocabulary, as ("Make", "Model"); (): all
    c.data.cache_regions = 256  # decoded regions kept in memory (0.6 MB each at 448 px)
    c.data.max_corrupt_fraction = 0.01  # of the records; a larger damaged fraction stops the run
    c.data.reader = "auto"  # the faster one, "threads"; or "tf.data": the same batches

    c.model = ConfigDict()
    c.model.embed_dim = 512  # width of the shared space
    c.model.init_temperature = 0.07  # learned from here on
    c.model.init_bias = 0.0  # of the logits, for the sigmoid loss: -10.0; 0: none
    c.model.image = ConfigDict()
    c.model.image.kind = "vit"  # or "resnet", as in resnet50_paper.py
    c.model.image.image_size = 224  # side of a patch, pixels
    c.model.image.token_size = 16  # side of a token, pixels
    c.model.image.width = 768
    c.model.image.depth = 12
    c.model.image.heads = 12
    c.model.image.mlp_dim = 3072
    c.model.image.pool = "mean_std"  # or "mean", "cls"
    c.model.image.features = "spectrum"  # log |DCT|; or "pixels", or "texture": less their mean
    c.model.image.positions = "learned"  # or "none", which data.patch_sizes needs
    c.model.image.remat = ""  # save memory: "dots" keeps only matrix products, "all" nothing
    c.model.text = ConfigDict()
    c.model.text.kind = "transformer"  # or "distilbert"
    c.model.text.max_length = 256  # pieces; longer texts are cut
    c.model.text.width = 512
    c.model.text.depth = 6
    c.model.text.heads = 8
    c.model.text.mlp_dim = 2048
    c.model.text.remat = ""

    c.optim = ConfigDict()
    c.optim.lr = 1e-3  # peak learning rate
    c.optim.end_lr = 1e-6
    c.optim.schedule = "cosine"  # or "wsd", warmup-stable-decay, whose runs can be made longer
    c.optim.warmup_steps = 2000
    c.optim.decay_fraction = 0.2  # of "wsd": the last steps, over which the rate falls linearly
    c.optim.b1 = 0.9
    c.optim.b2 = 0.98
    c.optim.eps = 1e-6
    c.optim.weight_decay = 0.1
    c.optim.weight_decay_type = "decoupled"  # AdamW; or "l2": Adam, the decay in the gradient
    c.optim.clip_norm = 1.0  # gradients longer than this are scaled down to it; 0: none
    c.optim.layerwise_lr_decay = 1.0  # factor of updates for each layer below an encoder's last
    c.optim.frozen = ()  # parameters that do not move: ("text", "log_scale", "image/embed", ...)

    c.train = ConfigDict()
    c.train.batch_size = 1024  # patches, over all devices
    c.train.loss = "infonce"  # or "sigmoid", as SigLIP
    c.train.image_weight = 1.0  # of the loss between patches, beside that of patches and texts
    c.train.same_photo_negatives = True  # False: a photo's other texts are left out of the loss
    c.train.loss_chunk = 0  # columns of logits at a time, for large batches; 0: all at once
    c.train.micro_batch = 0  # patches encoded at a time, for batches beyond memory; 0: all
    c.train.init_image = ""  # image encoder to begin from: .npz, .pth or .safetensors
    c.train.init_model = ""  # release file to begin from, with its tokenizer
    c.train.init_parts = ()  # what to take of it: ("image", "text", ...); (): all that fits
    c.train.num_steps = 73_000  # the paper's number
    c.train.dtype = "bfloat16"  # of matrix products; parameters and loss stay float32
    c.train.max_skipped = 5  # steps in a row without a finite loss; more stop the run
    c.train.ema = 0.0  # decay of the averaged weights at each step (0.999); 0: no average
    c.train.seed = 0  # of the initial parameters
    c.train.log_every = 50  # steps
    c.train.profile_steps = 0  # steps to trace, for TensorBoard or Perfetto, in WORKDIR/profile
    c.train.eval_every = 1000
    c.train.save_every = 1000
    c.train.keep_checkpoints = 3
    c.train.wandb_project = ""  # of Weights & Biases (pip install wandb); "": no report there

    c.eval = ConfigDict()
    c.eval.splices = ""  # folder of spliced photos, as for `exif_jax.evaluate --dataset folder`
    c.eval.best = "image_to_exif_r10"  # the validation metric that best.safetensors is best by
    c.eval.probe = ""  # photo whose affinities are pictured in WORKDIR/probe at each validation

    c.mesh = ConfigDict()
    c.mesh.data = -1  # devices along the batch; -1: all that fsdp leaves
    c.mesh.fsdp = 1  # devices over which parameters and optimiser state are split
    return c
