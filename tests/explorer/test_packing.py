"""Packed networks answer as PyTorch's do: in Chromium, from a disk, in a worker; and stay right."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browsing import console_faults, outside_requests
from torch import nn

import attnlib as al
from attnlib.explain.layers import lens_of_heads
from attnlib.explorer.packing import (
    UnknownLayerError,
    fold_norms,
    pack_network,
    quantise,
    quantise_rows,
    rounded,
)

LOOK = Path(__file__).resolve().parents[2] / "book" / "_ext" / "attnbook" / "look_inside"
CLASSES = tuple("abcdefghij")
IMAGES = 20
MEGABYTE = 1_000_000
ASK = """
const [header, content, pixels, done] = arguments;
const decode = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0)).buffer;
const encode = floats => {
    const bytes = new Uint8Array(floats.buffer), parts = [];
    for (let at = 0; at < bytes.length; at += 4096)
        parts.push(String.fromCharCode(...bytes.subarray(at, at + 4096)));
    return btoa(parts.join(''));
};
const images = new Float32Array(decode(pixels)), [height, width] = header.img_size;
const size = 3 * height * width;
const source = document.querySelector('#worker').textContent;
const worker = new Worker(URL.createObjectURL(new Blob([source])));
const answers = [];
worker.onerror = event => done({fault: event.message});
worker.onmessage = ({data}) => {
    if (data.fault) return done(data);
    if (data.result) {
        const {logits, answers: heads, attention, lens} = data.result;
        answers.push({logits: Array.from(logits), heads: heads.map(h => Array.from(h)),
                      attention: attention?.map(encode),
                      lens: lens?.map(at => at.map(h => Array.from(h)))});
    }
    const next = answers.length;
    if (next * size === images.length) return done(answers);
    worker.postMessage({id: next, name: 'n', pixels: images.slice(next * size, (next + 1) * size)});
};
worker.postMessage({id: -1, name: 'n', header, bytes: decode(content)});"""


def decisive(model: nn.Module, side: int) -> nn.Module:
    """Fresh weights whose attention is uneven and whose BatchNorm has seen images."""
    for name, parameter in model.named_parameters():
        if "blocks" in name and name.endswith("weight") and parameter.ndim == 2:
            parameter.data *= 3
    model.train()
    with torch.no_grad():
        for _ in range(5):
            model(torch.rand(32, 3, side, side))
    return model.eval()


def make(name: str) -> tuple[nn.Module, int]:
    torch.manual_seed(0)
    if name == "deit":
        return decisive(al.create_model("deit_t", 10, 64, patch_size=8), 64), 64
    if name == "vit":
        return decisive(al.create_model("deit_t", 10, 32, patch_size=8, distilled=False), 32), 32
    if name == "resnet":
        return decisive(al.create_model("resnet18", 10, 32, stem="cifar"), 32), 32
    return al.create_model("efficientnet_lite0", 10, 64, pretrained=True).eval(), 64


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page that holds the worker's script and nothing else."""
    files = [LOOK / f"{name}.js" for name in ("matmul", "network", "worker")]
    script = "\n".join(path.read_text(encoding="utf-8") for path in files)
    path = tmp_path_factory.mktemp("network") / "page.html"
    path.write_text(
        f"<!doctype html><title>t</title><script type=text/plain id=worker>{script}</script>"
    )
    return path


def floats(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")


def ask(browser: Any, page: Path, model: nn.Module, images: torch.Tensor) -> list[dict[str, Any]]:
    """The script's answers to images in a worker, from a page on the disk."""
    side = images.shape[-1]
    packed = pack_network(model, CLASSES, side)
    pixels = images.permute(0, 2, 3, 1).contiguous().numpy().astype("<f4").tobytes()
    browser.get(page.as_uri())
    outside_requests(browser)
    header = json.loads(json.dumps(packed.header))
    answers = browser.execute_async_script(
        ASK, header, base64.b64encode(packed.content).decode(), base64.b64encode(pixels).decode()
    )
    assert isinstance(answers, list), answers
    assert console_faults(browser) == [] and outside_requests(browser) == []
    return answers


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deit", "vit"])
def test_transformer_in_the_browser_is_pytorchs(browser: Any, page: Path, name: str) -> None:
    model, side = make(name)
    images = torch.rand(IMAGES, 3, side, side)
    answers = ask(browser, page, model, images)
    for network, tolerance in ((quantise(model), 1e-4), (model, 0.1)):
        with torch.inference_mode(), al.record_attention(network) as maps:
            logits = network(images)
        whole = torch.stack(list(maps), dim=1).flatten(2).numpy()  # (B, L, h N N)
        lens = lens_of_heads(network, images).numpy()
        shown = np.stack([[floats(layer) for layer in each["attention"]] for each in answers])
        assert shown.shape == whole.shape and whole.max() > 3 / model.pos_embed.shape[1]
        assert np.abs(shown - whole).max() < tolerance
        spread = float(logits.std(dim=1).mean())
        assert (
            np.abs(np.array([a["logits"] for a in answers]) - logits.numpy()).max()
            < tolerance * spread * 3
        )
        assert np.abs(np.array([a["lens"] for a in answers]) - lens).max() < 3 * tolerance * spread
        assert np.allclose(
            [a["heads"] for a in answers], [a["lens"][-1] for a in answers], atol=1e-5
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lite", "resnet"])
def test_teacher_in_the_browser_is_pytorchs(browser: Any, page: Path, name: str) -> None:
    model, side = make(name)
    images = torch.rand(IMAGES, 3, side, side)
    shown = np.array([answer["logits"] for answer in ask(browser, page, model, images)])
    for network, tolerance in ((quantise(model), 1e-4), (model, 0.15)):
        with torch.inference_mode():
            logits = network(images)
        spread = float(logits.std(dim=1).mean())
        assert np.abs(shown - logits.numpy()).max() < tolerance * spread


@pytest.mark.parametrize("name", ["lite", "resnet"])
def test_folding_batch_norm_changes_no_answer(name: str) -> None:
    model, side = make(name)
    images = torch.rand(2, 3, side, side)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.inference_mode():
        torch.testing.assert_close(fold_norms(model)(images), model(images), atol=1e-4, rtol=1e-4)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_rows_keep_their_largest_weight_and_err_by_half_a_level() -> None:
    weight = torch.randn(500, 200) * torch.logspace(-3, 2, 500)[:, None]
    levels, scales = quantise_rows(weight)
    assert (levels.abs().amax(dim=1) == 127).all()
    error = (rounded(weight) - weight).abs().amax(dim=1)
    assert (error <= scales * 0.5001).all() and (error > 0).all()


def test_showcase_networks_keep_to_their_size() -> None:
    (deit, _), (lite, _) = make("deit"), make("lite")
    transformer = len(base64.b64encode(pack_network(deit, CLASSES, 64).content))
    teacher = len(base64.b64encode(pack_network(lite, CLASSES, 64).content))
    assert 5 * MEGABYTE < transformer <= 9 * MEGABYTE
    assert 3 * MEGABYTE < teacher <= 6 * MEGABYTE


def test_a_network_that_the_script_cannot_run_is_refused_by_its_layer() -> None:
    with pytest.raises(UnknownLayerError, match="no layer"):
        pack_network(al.create_model("timm/mobilenetv3_small_050", 10, 64).eval(), CLASSES, 64)
