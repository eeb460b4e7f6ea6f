"""Starting from a finished network: which tensors are taken, resampled, fresh, or refused."""

import argparse
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from attnlib.models.pretrained import read_checkpoint, start_from
from attnlib.models.zoo import create_model


def small(name: str = "deit_t", classes: int = 10, size: int = 32, **options: object) -> nn.Module:
    if name == "deit_t":
        options = {"patch_size": 8, "distilled": False, **options}
    return create_model(name, classes, size, **options).eval()


def logits(model: nn.Module, size: int = 32) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("name", ["deit_t", "resnet18", "atresnet18", "timm/resnet10t"])
def test_a_network_with_the_same_classes_is_taken_whole(name):
    theirs, ours = small(name), small(name)
    fit = start_from(ours, theirs.state_dict())
    assert not (fit.fresh or fit.resampled or fit.dropped)
    assert set(fit.taken) == set(ours.state_dict())
    torch.testing.assert_close(logits(ours), logits(theirs))


@pytest.mark.parametrize(
    ("name", "head"), [("deit_t", "head"), ("resnet18", "fc"), ("timm/convnext_atto", "head.fc")]
)
@pytest.mark.parametrize("classes", [10, 7])
def test_the_head_is_fresh_where_the_classes_differ_in_number_or_by_name(name, head, classes):
    theirs, ours = small(name, classes), small(name)
    before = ours.get_submodule(head).weight.clone()
    fit = start_from(ours, theirs.state_dict(), keep_head=classes != 10)
    assert fit.fresh == (f"{head}.weight", f"{head}.bias") and not fit.dropped
    assert torch.equal(ours.get_submodule(head).weight, before)
    assert len(fit.taken) == len(ours.state_dict()) - 2


def test_positions_and_patches_are_resampled_to_another_grid():
    theirs, ours = small(), small(size=64)
    fit = start_from(ours, theirs.state_dict())
    assert fit.resampled == ("pos_embed",) and ours.pos_embed.shape == (1, 65, 192)
    torch.testing.assert_close(ours.pos_embed[:, 0], theirs.pos_embed[:, 0])
    near = ours.pos_embed[0, 1:].view(8, 8, -1).unfold(0, 2, 2).unfold(1, 2, 2).mean((-1, -2))
    similar = torch.cosine_similarity(near, theirs.pos_embed[0, 1:].view(4, 4, -1), dim=-1)
    assert similar.min() > 0.9
    finer = small(patch_size=4)
    fit = start_from(finer, theirs.state_dict())
    assert set(fit.resampled) == {"pos_embed", "patch_embed.proj.weight"}
    # A patch of 4 pixels sees what the patch of 8 saw of the same image at twice the size.
    x = torch.rand(1, 3, 4, 4)
    wide = torch.nn.functional.interpolate(x, scale_factor=2, mode="bicubic", antialias=True)
    a, b = (m.patch_embed.proj(v).flatten() for m, v in ((finer, x), (theirs, wide)))
    assert torch.corrcoef(torch.stack([a, b]))[0, 1] > 0.95


def test_a_plain_deit_takes_a_distilled_one_and_the_other_way():
    plain, distilled = small(), small(distilled=True)
    fit = start_from(plain, distilled.state_dict())
    assert fit.dropped == ("dist_token", "head_dist.weight", "head_dist.bias")
    assert not fit.fresh and not fit.resampled
    torch.testing.assert_close(plain.pos_embed[:, 1:], distilled.pos_embed[:, 2:])
    again = small(distilled=True)
    before = again.pos_embed[:, 1].clone()
    fit = start_from(again, plain.state_dict())
    assert set(fit.fresh) == {
        "dist_token", "head_dist.weight", "head_dist.bias", "pos_embed[:, 1]"
    }  # fmt: skip
    assert torch.equal(again.pos_embed[:, 1], before)
    torch.testing.assert_close(again.pos_embed[:, 2:], plain.pos_embed[:, 1:])


@pytest.mark.parametrize("tokens", ["channel", "spatial"])
def test_atresnet_takes_the_trunk_of_a_resnet(tokens):
    theirs, ours = small("resnet18", 7), small("atresnet18", tokens=tokens)
    fit = start_from(ours, theirs.state_dict())
    assert {name.split(".")[0] for name in fit.fresh} == {"cls_token", "encoders", "fc"}
    assert torch.equal(ours.conv1.weight, theirs.conv1.weight)
    assert torch.equal(ours.layer4[1].bn2.running_mean, theirs.layer4[1].bn2.running_mean)


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        ("resnet18", "deit_t", r"conv1\.weight \(64, 3, 7, 7\): missing.*cls_token .*no place"),
        ("deit_t", "resnet18", r"cls_token \(1, 1, 192\): missing"),
        ("resnet18", "resnet50", r"layer1\.0\.conv1\.weight: \(64, 64, 1, 1\), expected"),
        ("resnet18", "atresnet18", r"cls_token \(1, 1, 256\): no place"),
    ],
)
def test_a_network_of_another_kind_is_refused_by_the_first_names_and_shapes(ours, theirs, told):
    model = small(ours)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=told):
        start_from(model, small(theirs).state_dict())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_weights_that_are_not_finite_are_refused():
    state = small().state_dict()
    state["blocks.3.norm1.weight"][5] = torch.nan
    with pytest.raises(ValueError, match=r"blocks\.3\.norm1\.weight.*not finite"):
        start_from(small(), state)


def test_files_of_either_kind_are_read_and_half_precision_is_widened(tmp_path):
    state = small().state_dict()
    save_file({k: v.half() for k, v in state.items()}, tmp_path / "a.safetensors")
    torch.save({"model": state}, tmp_path / "official.pth")
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "b.pth")
    for name in ("a.safetensors", "official.pth", "b.pth"):
        model = small()
        start_from(model, read_checkpoint(tmp_path / name))
        assert model.pos_embed.dtype == torch.float32
        torch.testing.assert_close(model.pos_embed, state["pos_embed"], atol=1e-3, rtol=1e-3)


class RunsOnLoading:
    """A pickle of it runs code where it is loaded."""

    def __reduce__(self):
        return exec, ("raise SystemExit('code from the file ran')",)


@pytest.mark.parametrize("content", ["pickle", "junk", "list", "empty", "junk.safetensors"])
def test_a_file_that_holds_no_weights_is_refused_and_runs_nothing(tmp_path, content):
    path = tmp_path / ("x.safetensors" if "." in content else "x.pth")
    if content == "pickle":
        torch.save({"model": RunsOnLoading()}, path)
    elif content == "list":
        torch.save([1, 2], path)
    else:
        path.write_bytes(b"" if content == "empty" else b"junk" * 100)
    with pytest.raises(ValueError, match=r"initial_checkpoint: .*x\.(pth|safetensors)"):
        read_checkpoint(path)
    with pytest.raises(ValueError, match="initial_checkpoint: "):
        read_checkpoint(tmp_path / "absent.pth")


def test_checkpoints_of_timms_and_deits_training_scripts_are_read(tmp_path):
    """They hold the script's arguments and the optimiser's state beside the weights."""
    weights = {"weight": torch.ones(2)}
    more = {"args": argparse.Namespace(lr=0.1, opt_betas=[0.9]), "optimizer": {"state": {}}}
    for key, file in (("state_dict", "model_best.pth.tar"), ("model", "checkpoint.pth")):
        torch.save({key: weights, "epoch": 3, **more}, tmp_path / file)
        assert read_checkpoint(tmp_path / file).keys() == {"weight"}


@pytest.mark.filterwarnings("ignore:.torch.jit.:FutureWarning")
def test_a_refused_file_is_told_why_without_advice_to_run_its_code(tmp_path):
    torch.save({"weight": Path("a")}, tmp_path / "a.pth")
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), tmp_path / "a.pt")
    for file, told in (("a.pth", r"\(Unsupported .*Path"), ("a.pt", "it is a TorchScript program")):
        with pytest.raises(ValueError, match=told) as refused:
            read_checkpoint(tmp_path / file)
        assert "weights_only" not in str(refused.value)
