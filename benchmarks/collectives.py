"""What a training step sends between devices, read from the compiled program; no device needed.

    python -m benchmarks.collectives --config configs/vit_b.py --devices 8,64,256
    pip install libtpu && python -m benchmarks.collectives --config configs/pod_b.py --tpu v5e:16x16

The first form compiles for emulated CPU devices, the second with the TPU's own compiler for chips
that are not there. Printed are the bytes that each device sends in a step, by kind of collective,
beside the least that the algorithm needs: gradients summed once, embeddings gathered once and
their gradients summed once and, with fsdp, parameters gathered once.

Sent bytes are those of rings: of n devices, (n - 1) / n of an array for gathering or scattering
it, twice that for an all-reduce.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import sys

import jax
import numpy as np

from exif_jax.cli import command

KINDS = (
    *("all-reduce", "all-gather", "reduce-scatter"),
    *("all-to-all", "collective-permute", "collective-broadcast", "ragged-all-to-all"),
)
_BYTES = {
    "pred": 1,
    **{f"{sign}{8 * n}": n for sign in "su" for n in (1, 2, 4, 8)},
    **{"bf16": 2, "f16": 2, "f32": 4, "f64": 8},
}


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective of a compiled program.

    Attributes:
        kind: one of KINDS.
        array_bytes: of the whole array: what is gathered, summed or scattered.
        group: devices that take part together.
        times: how often a step runs it (loops).
        shape: as the compiler writes it.
    """

    kind: str
    array_bytes: int
    group: int
    times: int
    shape: str

    @property
    def sent(self) -> float:
        """Bytes that one device sends for it in a step."""
        share = (self.group - 1) / self.group
        return self.times * self.array_bytes * share * (2 if self.kind == "all-reduce" else 1)


def collectives(hlo: str, devices: int) -> list[Collective]:
    """The collectives of an optimised HLO module's text."""
    bodies: dict[str, list[str]] = {}
    name = entry = ""
    for line in hlo.splitlines():
        head = re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{\s*$", line)
        if head:
            name = head[2]
            bodies[name] = []
            entry = name if head[1] else entry
        elif name and "=" in line:
            bodies[name].append(line)
    in_program: list[Collective] = []
    chains: set[str] = set()  # a TPU spreads one collective over several fusions of one chain

    def trips(line: str) -> int:
        count = re.search(r'"known_trip_count":\{"n":"(\d+)"', line)
        if count:
            return int(count[1])
        condition = " ".join(bodies[_named("condition", line)])  # counts up to a constant
        return max((int(n) for n in re.findall(r"constant\((\d+)\)", condition)), default=1)

    def walk(name: str, times: int) -> None:
        for line in bodies[name]:
            _, rest = line.split("=", 1)
            shape, opcode = _shape_and_opcode(rest)
            kind = opcode.removesuffix("-start")
            if kind in KINDS:
                sizes = [_size(*part) for part in re.findall(r"(\w+)\[([\d,]*)\]", shape)]
                group = _group(line, devices)
                if opcode.endswith("-start"):  # (operand, result): the larger is the whole
                    whole = max(sizes) if kind != "all-reduce" else sum(sizes)
                else:
                    whole = sum(sizes) * (group if kind == "reduce-scatter" else 1)
                chain = re.search(r'chain_id="(\d+)"', line)
                counted = chain is not None and chain[1] in chains
                chains.update([chain[1]] if chain else [])
                if group > 1 and not counted:
                    in_program.append(Collective(kind, whole, group, times, shape))
            if opcode == "while":
                walk(_named("body", line), times * trips(line))
            elif opcode in ("fusion", "call", "async-start", "conditional"):
                for inner in re.findall(
                    r"(?:calls|to_apply|branch_computations)=\{?%?([\w.\-]+)", line
                ):
                    walk(inner, times)

    walk(entry, 1)
    return in_program


def _shape_and_opcode(text: str) -> tuple[str, str]:
    """Of "f32[2,3]{1,0} add(...)" or "(f32[2], f32[3]) all-reduce(...)"."""
    text = text.strip()
    if text.startswith("("):
        depth = np.cumsum([(letter == "(") - (letter == ")") for letter in text])
        end = 1 + int((depth == 0).argmax())
        shape, rest = text[:end], text[end:]
    else:
        shape, _, rest = text.partition(" ")
    opcode = re.match(r"\s*([\w\-]+)\(", rest)
    return shape, opcode[1] if opcode else ""


def _size(dtype: str, dims: str) -> int:
    return _BYTES.get(dtype, 0) * math.prod(int(d) for d in dims.split(",") if d)


def _named(key: str, line: str) -> str:
    match = re.search(rf"{key}=%?([\w.\-]+)", line)
    assert match is not None, line
    return match[1]


def _group(line: str, devices: int) -> int:
    explicit = re.search(r"replica_groups=\{\{([\d,]+)\}", line)
    if explicit:
        return len(explicit[1].split(","))
    iota = re.search(r"replica_groups=\[(\d+),(\d+)\]", line)
    if iota:
        return int(iota[2])
    named = re.search(
        r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(.*?\)\))? \{([^}]*)\}", line
    )
    if named:
        sizes = dict(re.findall(r"('\w+')=(\d+)", named[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'\w+'", named[2]))
    if re.search(r"replica_groups=(?!\{\})|source_target_pairs", line) and "permute" not in line:
        raise ValueError(f"unknown form of replica groups: {line.strip()[:400]}")
    return devices


# --- a training step ------------------------------------------------------------------------------


def compile_step(step_config, mesh, batch_size: int, patches_per_text: int):
    """The training step compiled for a mesh, whose devices need not be there."""
    from exif_jax.training import sharding, train_state

    model = step_config.model
    S, L, G = model.image.image_size, model.text.max_length, batch_size // patches_per_text
    shapes = {
        "image": ((batch_size, S, S, 3), np.uint8),
        "tokens": ((G, L), np.int32),
        "token_mask": ((G, L), bool),
        "text_id": ((G,), np.uint32),
        "photo_id": ((G,), np.uint32),
    }
    batch = {name: jax.ShapeDtypeStruct(*x) for name, x in shapes.items()}
    init = functools.partial(train_state.init_state, step_config)
    state = jax.eval_shape(init, jax.random.key(0))
    step = train_state.jit_step(step_config, mesh, sharding.state_shardings(mesh, state))
    return step.lower(state, batch, None).compile(), state


def least_bytes(
    state, mesh, embed_dim: int, batch_size: int, patches_per_text: int, width: int
) -> dict:
    """What a device must send in a step: {"gradients", "parameters", "embeddings"}.

    `width` is the bytes of a parameter and of a gradient as they travel; embeddings are float32.
    """
    from exif_jax.training import sharding

    n, fsdp, data = mesh.size, mesh.shape["fsdp"], mesh.shape["data"]
    shardings = sharding.state_shardings(mesh, state.params)
    split = copied = 0
    for x, place in zip(jax.tree.leaves(state.params), jax.tree.leaves(shardings), strict=True):
        if any(place.spec):
            split += width * x.size
        else:
            copied += width * x.size
    gradients = 2 * copied * (n - 1) / n + split * (fsdp - 1) / fsdp
    gradients += 2 * split / fsdp * (data - 1) / data
    rows = batch_size + batch_size // patches_per_text
    return {
        "gradients": gradients,
        "parameters": split * (fsdp - 1) / fsdp,
        "embeddings": 2 * 4 * rows * embed_dim * (n - 1) / n,
    }


def measure(config, mesh) -> dict:
    """Bytes sent, least bytes and memory of a run's training step on a mesh.

    Args:
        config: of the run, as `exif_jax.training.config.parse_config` gives it.
        mesh: of devices that need not be there.
    """
    from exif_jax.training.config import make_model_config
    from exif_jax.training.step_config import make_step_config

    model = make_model_config(config, vocab_size=2048)
    step_config = make_step_config(config, model, mesh)
    batch_size, per_text = config.train.batch_size, config.data.patches_per_text
    compiled, state = compile_step(step_config, mesh, batch_size, per_text)
    in_step = collectives(compiled.as_text(), mesh.size)
    memory = compiled.memory_analysis()
    # A CPU has no products in bfloat16: it computes and sums them in float32.
    low = config.train.dtype == "bfloat16" and mesh.devices.flat[0].platform != "cpu"
    sent = {kind: sum(c.sent for c in in_step if c.kind == kind) for kind in KINDS}
    largest = sorted(in_step, key=lambda c: -c.sent)[:12]
    return {
        "devices": mesh.size,
        "mesh": dict(mesh.shape),
        "batch_size": batch_size,
        "sent": {kind: value for kind, value in sent.items() if value},
        "least": least_bytes(state, mesh, model.embed_dim, batch_size, per_text, 2 if low else 4),
        "memory": {
            "arguments": memory.argument_size_in_bytes,
            "temporary": memory.temp_size_in_bytes,
        },
        "largest": [f"{c.kind} {c.shape} x{c.times} of {c.group}: {c.sent:.3g} B" for c in largest],
    }


def main() -> None:
    parser = command.parser("benchmarks.collectives", __doc__)
    parser.add_argument("--config", default="configs/vit_b.py", help="default: configs/vit_b.py")
    parser.add_argument("--devices", default="8", help="emulated CPU devices, 8 to 256 (8,64)")
    parser.add_argument("--tpu", help="TPU topologies instead: v5e:16x16,v5e:4x4")
    parser.add_argument("--fsdp", type=int, help="default: the config's")
    parser.add_argument("--per-device", type=int, help="patches a device; default: the config's")
    parser.add_argument("--loss-chunk", type=int, help="default: the config's")
    parser.add_argument("--micro-batch", type=int, default=0, help="gradient caching; 0: none")
    parser.add_argument("--largest", action="store_true", help="also print the largest ones")
    parser.add_argument("--output", help="file for the figures")
    args = parser.parse_args()
    sizes = [int(n) for n in args.devices.split(",")]
    if not args.tpu:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", max(sizes))
    from benchmarks.machine import load_config
    from exif_jax.training import sharding
    from exif_jax.training.config import parse_config

    config = load_config(args.config)
    config.mesh.fsdp = args.fsdp or config.mesh.fsdp
    if args.loss_chunk is not None:
        config.train.loss_chunk = args.loss_chunk
    config.train.micro_batch = args.micro_batch
    if args.tpu:
        from jax.experimental import topologies

        groups = [
            topologies.get_topology_desc(name, platform="tpu").devices
            for name in args.tpu.split(",")
        ]
    else:
        groups = [jax.devices()[:n] for n in sizes]
    print(f"{args.config}, {config.train.dtype}; MB that each device sends in a step")
    print("devices  mesh        batch    sent    least  by kind; memory of a device")
    rows = []
    for devices in groups:
        mesh = sharding.make_mesh(-1, config.mesh.fsdp, devices)
        if args.per_device:
            config.train.batch_size = args.per_device * len(devices)
        row = measure(parse_config(config), mesh)
        rows.append(row)
        sent, least = sum(row["sent"].values()), sum(row["least"].values())
        kinds = ", ".join(f"{kind} {value / 1e6:.1f}" for kind, value in row["sent"].items())
        memory = sum(row["memory"].values()) / 2**30
        shape = "x".join(str(n) for n in row["mesh"].values())
        print(
            f"{row['devices']:7}  {shape:8} {row['batch_size']:8} "
            f"{sent / 1e6:7.1f}  {least / 1e6:7.1f}  {kinds}; {memory:.2f} GiB",
            flush=True,
        )
        if args.largest:
            print("\n".join(f"    {line}" for line in row["largest"]), flush=True)
    if args.output:
        with open(args.output, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    sys.exit(main())
