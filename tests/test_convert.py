"""Published checkpoints, with random weights, become release files that work."""

import json

import jax
import numpy as np
import pytest
import torch_checkpoints as tc
from PIL import Image
from tiny_model import embed_images, embed_texts, relative_error

from exif_jax import convert, localize
from exif_jax.data.tokenizer import TokenizerError
from exif_jax.forensics.embed import embed_exif
from exif_jax.reading.exif import from_values, select_tags, to_text
from exif_jax.weights.release_file import load_model

PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    ":",
    ",",
    "make",
    "model",
    "can",
    "##on",
    *"0123456789",
]
PIECES += [f"[unused{i}]" for i in range(30 - len(PIECES))]


@pytest.fixture(scope="module")
def saved():
    return tc.published(np.random.default_rng(0))


@pytest.fixture(scope="module")
def files(saved, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    tc.save(saved, folder / "wrapper.pth")
    tc.save(tc.pruned(saved), folder / "pruned.pth")
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    return folder


@pytest.fixture(scope="module")
def model(files):
    out = files / "converted.safetensors"
    argv = [str(files / "wrapper.pth"), str(out), "--vocab", str(files / "vocab.txt")]
    assert convert.main(argv) == 0
    return load_model(out)


def test_the_pruned_form_gives_the_same_weights(files, model):
    pruned, notes = convert.convert(files / "pruned.pth", (files / "vocab.txt").read_bytes())
    assert notes == []
    assert pruned.config == model.config
    jax.tree.map(np.testing.assert_array_equal, pruned.params, model.params)


def test_what_is_left_out_is_said_and_recorded(files, model, capsys):
    assert convert.main([str(files / "wrapper.pth"), str(files / "again.safetensors")]) == 0
    messages = capsys.readouterr().err
    for name in convert.LEFTOVERS:
        assert f"left out {name}: never used" in messages
    assert "no --vocab" in messages
    record = model.provenance["converted_from"]
    assert record["file"] == "wrapper.pth"
    assert record["epoch"] == 75
    assert len(record["sha256"]) == 64
    assert {"sink_temp", "visual.bn1.num_batches_tracked"} <= set(record["left_out"])
    assert model.config.image.image_size == 124
    assert float(model.params["log_scale"]) == pytest.approx(4.6052, abs=1e-4)


def test_images_embed_as_pytorch_embeds_them(saved, model):
    torch = pytest.importorskip("torch")
    from torch import nn

    weights = {
        k[len("model.visual.") :]: torch.from_numpy(np.array(v)).double()
        for k, v in saved["model"].items()
        if k.startswith("model.visual.")
    }

    def conv(x, name, stride=1):
        w = weights[f"{name}.weight"]
        return nn.functional.conv2d(x, w, stride=stride, padding=(w.shape[-1] - 1) // 2)

    def norm(x, name):
        parts = ("running_mean", "running_var", "weight", "bias")
        return nn.functional.batch_norm(x, *(weights[f"{name}.{part}"] for part in parts))

    pixels = np.random.default_rng(1).integers(0, 256, (2, 124, 124, 3), dtype=np.uint8)
    x = torch.from_numpy(pixels / 255).permute(0, 3, 1, 2)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    x = norm(conv((x - mean.double()) / std.double(), "conv1", 2), "bn1").relu()
    x = nn.functional.max_pool2d(x, 3, 2, 1)
    for i, blocks in enumerate((3, 4, 6, 3)):
        for j in range(blocks):
            at, stride = f"layer{i + 1}.{j}", 2 if i and not j else 1
            y = norm(conv(x, f"{at}.conv1"), f"{at}.bn1").relu()
            y = norm(conv(y, f"{at}.conv2", stride), f"{at}.bn2").relu()
            y = norm(conv(y, f"{at}.conv3"), f"{at}.bn3")
            if j == 0:
                x = norm(conv(x, f"{at}.downsample.0", stride), f"{at}.downsample.1")
            x = (x + y).relu()
    z = x.mean((2, 3)) @ weights["fc.weight"].T + weights["fc.bias"]
    expected = nn.functional.normalize(z).numpy()
    assert relative_error(embed_images(model.config, model.params, pixels), expected) < 1e-5


def test_texts_embed_as_numpy_embeds_them(saved, model):
    """DistilBERT in float64, by its paper's formulas, from the tensors under their own names."""
    erf = pytest.importorskip("scipy.special").erf
    prefix = "model.transformer."
    w = {k[len(prefix) :]: np.float64(v) for k, v in saved["model"].items() if k.startswith(prefix)}
    text = "Make: Canon, Model: 7"
    tokens, mask = model.tokenizer.encode([text], 512)
    assert [PIECES[i] for i in tokens[0, : mask.sum()]] == [
        *("[CLS]", "make", ":", "can", "##on", ",", "model", ":", "7", "[SEP]")
    ]
    n = int(mask.sum())

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    x = w["embeddings.word_embeddings.weight"][tokens[0, :n]]
    x = norm(x + w["embeddings.position_embeddings.weight"][:n], "embeddings.LayerNorm")
    for i in range(2):
        at = f"transformer.layer.{i}"
        q, k, v = (
            linear(x, f"{at}.attention.{p}_lin").reshape(n, 12, 64).transpose(1, 0, 2)
            for p in "qkv"
        )
        logits = q @ k.transpose(0, 2, 1) / 8
        p = np.exp(logits - logits.max(-1, keepdims=True))
        y = (p / p.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(n, 768)
        x = norm(x + linear(y, f"{at}.attention.out_lin"), f"{at}.sa_layer_norm")
        h = linear(x, f"{at}.ffn.lin1")
        h = linear(h * (1 + erf(h / np.sqrt(2))) / 2, f"{at}.ffn.lin2")
        x = norm(x + h, f"{at}.output_layer_norm")
    z = x.mean(0)
    embedding = embed_texts(model.config, model.params, tokens, mask)
    assert relative_error(embedding, (z / np.linalg.norm(z))[None]) < 1e-5
    # The same text, made of the photo's EXIF by the tags and the format that the file carries.
    exif = {"Make": "Canon", "Model": "7", "Not Canonical": "hidden"}
    np.testing.assert_allclose(embed_exif([exif], model), embedding, atol=1e-6)


def test_the_model_reads_the_canonical_tags_of_a_photo(model):
    """The tags, not the names of the directories that they lie in: no text would be left."""
    assert {"Make", "Model", "Focal Length", "ISO"} <= set(model.tags)
    directories = {"IFD0": {0x010F: "Canon", 0x0110: "EOS"}, "ExifIFD": {0x920A: 50.0}}
    tags = from_values(directories)
    assert (
        to_text(select_tags(tags, model.tags)) == "Make: Canon, Model: EOS, Focal Length: 50.0 mm"
    )


def test_a_converted_model_localises(files, model, tmp_path):
    noise = np.random.default_rng(2).integers(0, 256, (400, 500, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.png")
    argv = ["--model", str(files / "converted.safetensors"), "--num-per-dim", "4"]
    argv += ["--output", str(tmp_path / "out"), str(tmp_path / "photo.png")]
    assert localize.main(argv) == 0
    result = json.loads((tmp_path / "out" / "photo.json").read_text())
    assert 0 <= result["score"] <= 1
    assert result["p_value"] is None  # nothing was calibrated


def test_without_a_vocabulary_texts_are_refused_with_the_cure(files):
    model, _ = convert.convert(files / "pruned.pth")
    with pytest.raises(TokenizerError, match=r"--vocab vocab\.txt"):
        embed_exif([{"Make": "Canon"}], model)


def test_what_is_missing_and_what_is_unexpected_is_named(saved, tmp_path, capsys):
    model = dict(saved["model"])
    del model["model.visual.layer2.0.conv1.weight"]
    model["model.visual.layer9.0.conv1.weight"] = np.zeros(1, "f4")
    tc.save({"model": model}, tmp_path / "x.pth")
    assert convert.main([str(tmp_path / "x.pth"), str(tmp_path / "out.safetensors")]) == 1
    error = capsys.readouterr().err
    assert "missing: visual.layer2.0.conv1.weight;" in error
    assert "unexpected: visual.layer9.0.conv1.weight\n" in error
    assert str(tmp_path / "x.pth") in error
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("visual.fc.bias", (5,), "image/fc/bias (5,) instead of (768,)"),
        ("transformer.embeddings.word_embeddings.weight", (7,), "not enough values to unpack"),
        ("transformer.embeddings.position_embeddings.weight", (), "out of range"),
        ("transformer.transformer.layer.1.ffn.lin1.bias", (3,), "same shape"),
        ("logit_scale", (3,), "scalar"),
    ],
)
def test_a_wrong_shape_ends_in_one_line(saved, tmp_path, capsys, name, shape, words):
    model = saved["model"] | {f"model.{name}": np.zeros(shape, "f4")}
    tc.save({"model": model}, tmp_path / "x.pth")
    assert convert.main([str(tmp_path / "x.pth"), str(tmp_path / "out.safetensors")]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'x.pth'}: ") and words in error


@pytest.mark.parametrize("value", [[1, 2], {"model": 3}, {}, {"model": {}}, "text"])
def test_other_contents(value, tmp_path, capsys):
    tc.save(value, tmp_path / "x.pth")
    assert convert.main([str(tmp_path / "x.pth"), str(tmp_path / "out.safetensors")]) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'x.pth'}: ")


def test_malice_is_refused_by_the_command(tmp_path, capsys):
    mark = tmp_path / "was-executed"
    tc.save({"model": {}, "x": tc.Call("os", "mkdir", (str(mark),))}, tmp_path / "x.pth")
    assert convert.main([str(tmp_path / "x.pth"), str(tmp_path / "out.safetensors")]) == 1
    assert "os.mkdir" in capsys.readouterr().err
    assert not mark.exists()


def test_a_vocabulary_of_another_model(files, tmp_path, capsys):
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES[:8]))
    argv = [str(files / "pruned.pth"), str(tmp_path / "o.safetensors"), "--vocab"]
    assert convert.main([*argv, str(tmp_path / "vocab.txt")]) == 1
    assert "8 pieces" in capsys.readouterr().err
    (tmp_path / "vocab.txt").write_text("hello\nthere")
    assert convert.main([*argv, str(tmp_path / "vocab.txt")]) == 1
    assert "lacks [PAD]" in capsys.readouterr().err
    assert convert.main([*argv, str(tmp_path / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err


def test_patches_too_small_for_a_resnet_are_wrong_usage(capsys):
    with pytest.raises(SystemExit) as stop:
        convert.main(["x.pth", "out.safetensors", "--patch-size", "31"])
    assert stop.value.code == 2 and "at least 32 pixels" in capsys.readouterr().err
