"""Everything that a training run needs, made and checked before its first step."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from exif_jax.data.dataset import PatchDataset
from exif_jax.data.input_pipeline import choose_reader
from exif_jax.data.records_folder import load_tokenizer
from exif_jax.evaluation.datasets import Sample
from exif_jax.models import dual_encoder
from exif_jax.models.dual_encoder import DualEncoderConfig
from exif_jax.training import distributed, sharding, train_state, validation
from exif_jax.training.config import Config, TrainError, make_model_config
from exif_jax.training.initialization import load_pretrained, load_pretrained_image_encoder
from exif_jax.training.step_config import StepConfig, make_step_config
from exif_jax.training.train_state import TrainState
from exif_jax.training.workdir import publishable_settings, run_inputs
from exif_jax.weights.release_file import Model, load_model


@dataclasses.dataclass(frozen=True)
class Run:
    """What the training loop reads and never changes.

    Attributes:
        config: of the run.
        workdir: where everything is written.
        inputs: what the run began from, for WORKDIR/inputs.json.
        is_main: whether this process writes files and prints.
        mesh: the devices.
        model_config, step_config: the shapes, and what a step is made of.
        train_data, validation_data: the two splits; they carry the tokenizer and the tags.
        splices: the samples of config.eval.splices.
        state_shapes, state_shardings: of the training state.
    """

    config: Config
    workdir: pathlib.Path
    inputs: dict[str, Any]
    is_main: bool
    mesh: Mesh
    model_config: DualEncoderConfig
    step_config: StepConfig
    train_data: PatchDataset
    validation_data: PatchDataset
    splices: list[Sample]
    state_shapes: TrainState
    state_shardings: TrainState


def setup(config: Config, workdir: pathlib.Path) -> Run:
    """Checks all that can be checked before the first compilation; it writes nothing.

    Raises:
        exif_jax.io.errors.ExifJaxError: the run cannot begin; the message says why.
    """
    train = config.train
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.fsdp)
    sharding.check_batch(mesh, train.batch_size // config.data.patches_per_text)
    pretrained = load_model(train.init_model) if train.init_model else None
    # The weights of a text encoder mean nothing without the tokenizer that they were trained with.
    if pretrained and ("text" in train.init_parts or not train.init_parts):
        tokenizer = pretrained.tokenizer
    else:
        tokenizer = load_tokenizer(config.data.records)
    model_config = make_model_config(config, tokenizer.vocab_size)
    make_data = functools.partial(
        PatchDataset,
        config.data,
        tokenizer=tokenizer,
        patch_size=model_config.image.image_size,
        length=model_config.text.max_length,
    )
    train_data, validation_data = make_data(split="train"), make_data(split="validation")
    train_data.check_device_cache()
    choose_reader(config.data.reader)
    num_photos = train_data.photos_per_batch(train.batch_size)
    if num_photos > train_data.num_photos:
        raise TrainError(
            f"batch_size {train.batch_size} takes {num_photos} photos, and {config.data.records} "
            f"has {train_data.num_photos} to train on: a batch holds a photo once; choose a "
            "smaller one"
        )
    step_config = make_step_config(config, model_config, mesh)
    if pretrained:
        shapes = dual_encoder.param_shapes(model_config)
        load_pretrained(shapes, pretrained, train.init_parts, train.init_model)
    if train.init_image:
        load_pretrained_image_encoder(train.init_image, model_config.image)
    splices = validation.read_splices(config.eval.splices)
    init = functools.partial(train_state.init_state, step_config)
    state_shapes = jax.eval_shape(init, jax.random.key(train.seed))
    return Run(
        config=config,
        workdir=workdir,
        inputs=run_inputs(
            train_data, validation_data, pretrained.id if pretrained else "", train.init_image
        ),
        is_main=distributed.is_main_process(),
        mesh=mesh,
        model_config=model_config,
        step_config=step_config,
        train_data=train_data,
        validation_data=validation_data,
        splices=splices,
        state_shapes=state_shapes,
        state_shardings=sharding.state_shardings(mesh, state_shapes),
    )


def initial_state(run: Run) -> TrainState:
    """The state of step 0, placed on the mesh: fresh parameters, or those of trained models."""
    train = run.config.train
    init = functools.partial(train_state.init_state, run.step_config)
    state = jax.jit(init, out_shardings=run.state_shardings)(jax.random.key(train.seed))
    if not train.init_model and not train.init_image:
        return state
    params = distributed.gather_to_host(run.mesh, state.params)
    if train.init_model:
        pretrained = load_model(train.init_model)
        params = load_pretrained(params, pretrained, train.init_parts, train.init_model)
    if train.init_image:
        image = load_pretrained_image_encoder(train.init_image, run.model_config.image)
        params = params | {"image": params["image"] | image}
    params = jax.device_put(params, run.state_shardings.params)
    from_params = functools.partial(train_state.state_from_params, run.step_config)
    return jax.jit(from_params, out_shardings=run.state_shardings)(params)


def step_function(run: Run, size: int) -> Callable:
    """The jitted step on patches of a size; it compiles when it is first called."""
    config = run.step_config._replace(patch_size=size, square=run.train_data.square(size))
    return train_state.jit_step(config, run.mesh, run.state_shardings)


def device_regions(run: Run) -> jax.Array | None:
    """All regions of the training photos on every device, where config.data.device_cache says so.

    Raises:
        DataError: too many are damaged.
    """
    if not run.config.data.device_cache:
        return None
    regions = run.train_data.load_regions()
    if run.is_main:
        print(f"{len(regions):,} regions stay on each device", file=sys.stderr)
    return jax.make_array_from_process_local_data(sharding.replicated(run.mesh), regions)


def current_model(run: Run, state: TrainState, metrics: dict[str, float]) -> Model:
    """What would be released at this step: the averaged weights where there are any.

    All processes must call it together.
    """
    return Model(
        config=run.model_config,
        params=distributed.gather_to_host(run.mesh, state.ema or state.params),
        tokenizer=run.train_data.tokenizer,
        tags=run.train_data.tags,
        provenance={
            "config": publishable_settings(run.config),
            "steps": int(state.step),
            "weights": "averaged" if state.ema else "last",
            "validation": metrics,
        },
    )
