"""Maps over the image: each is what its name says, in its place, and as others compute it."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet18

from attnlib.explain.attribution import (
    MAP_KINDS,
    Trace,
    grad_cam,
    gradient_rollout,
    integrated_gradients,
    layer_grid,
    occlusion,
    tokens_to_plane,
    trace,
)
from attnlib.explain.feature_maps import real_features
from attnlib.models.atresnet import AtResNet
from attnlib.models.hooks import (
    NothingToRecordError,
    TokenGrid,
    attention_rollout,
    record_attention,
    record_features,
)
from attnlib.models.vit import DeiT, EncoderSize, ViT

MINI = EncoderSize(24, 3, 3)
WIDE = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
OTHERS = "pip install --no-deps grad-cam fast-vit-rollout ttach opencv-python-headless"


def shaken(model: nn.Module, by: float = 0.3) -> nn.Module:
    """The model with weights that make its attention far from uniform."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=by)
    return model.eval()


@pytest.fixture(scope="module")
def deit() -> nn.Module:
    return shaken(DeiT(5, (16, 24), 8, MINI))


@pytest.fixture(scope="module")
def traced(deit: nn.Module) -> Trace:
    return trace(deit, WIDE)


@pytest.mark.parametrize("size", [(32, 32), (40, 64)])
@pytest.mark.parametrize("prefix", [0, 1, 2])
def test_a_peak_stands_in_the_middle_of_its_patch(size: tuple[int, int], prefix: int) -> None:
    grid = TokenGrid(prefix, size[0] // 8, size[1] // 8)
    for row in range(grid.rows):
        for column in range(grid.columns):
            tokens = torch.zeros(1, prefix + grid.rows * grid.columns)
            tokens[:, :prefix] = 5  # must not show
            tokens[0, prefix + row * grid.columns + column] = 1
            plane = tokens_to_plane(tokens, grid, size)[0]
            assert plane.shape == size
            y, x = (plane == plane.max()).nonzero().float().mean(dim=0).tolist()
            inner = 0 < row < grid.rows - 1 and 0 < column < grid.columns - 1
            off = 0.01 if inner else 4  # at the border the peak runs on to the edge
            assert abs(y - (8 * row + 3.5)) <= off and abs(x - (8 * column + 3.5)) <= off


def test_interpolation_is_linear_between_the_centres_of_patches() -> None:
    plane = tokens_to_plane(torch.tensor([[0.0, 1]]), TokenGrid(0, 1, 2), (8, 16))[0]
    expected = ((torch.arange(16) - 3.5) / 8).clamp(0, 1)
    torch.testing.assert_close(plane[3], expected)


def test_each_kind_is_the_formula_of_its_name(deit: nn.Module, traced: Trace) -> None:
    with record_attention(deit) as maps:
        deit(WIDE)
    a, b = maps[1], maps[-1]
    for kind, expected in {
        "mean": (b[:, 0, 0] + b[:, 1, 0] + b[:, 2, 0]) / 3,
        "head": b[:, 2, 0],
        "max": torch.maximum(torch.maximum(b[:, 0, 0], b[:, 1, 0]), b[:, 2, 0]),
        "distillation": (b[:, 0, 1] + b[:, 1, 1] + b[:, 2, 1]) / 3,
        "rollout": attention_rollout(maps)[:, 0],
    }.items():
        torch.testing.assert_close(traced.row(kind, head=2), expected)
    torch.testing.assert_close(traced.row("head", layer=1, head=1), a[:, 1, 0])
    torch.testing.assert_close(traced.row("rollout", layer=1), attention_rollout(maps[:2])[:, 0])
    torch.testing.assert_close(traced.row("rollout", layer=-3), attention_rollout(maps[:1])[:, 0])
    assert traced.kinds == tuple(MAP_KINDS)


def test_a_plane_is_the_row_without_its_prefix(traced: Trace) -> None:
    row = traced.row("mean")
    plane = traced.plane("mean")
    assert plane.shape == (2, 16, 24)
    corners = plane[:, ::15, ::23]  # beyond the outermost centres a plane is constant
    expected = row[:, 2:].view(2, 2, 3)[:, :, ::2]
    torch.testing.assert_close(corners, expected)


def test_gradient_rollout_equals_the_plain_autograd_computation() -> None:
    """Everything written out: heads one by one, explicit softmax, gradients by backward()."""
    model = shaken(ViT(5, (16, 24), 8, MINI))
    classes = torch.tensor([3, 1])
    kept: list[Tensor] = []

    def explicit(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1)
        weights.retain_grad()
        kept.append(weights)
        return weights @ v

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "scaled_dot_product_attention", explicit)
        logits = model(WIDE)
    (logits[0, 3] + logits[1, 1]).backward()
    product = torch.eye(7).repeat(2, 1, 1)
    for weights in kept:
        assert weights.grad is not None
        for image in range(2):
            cam = sum((weights[image, h] * weights.grad[image, h]).relu() for h in range(3)) / 3
            product[image] = product[image] + cam.detach() @ product[image]  # type: ignore[union-attr]
    traced = trace(model, WIDE, classes)
    torch.testing.assert_close(traced.row("gradient"), product[:, 0], atol=1e-5, rtol=1e-4)
    other = trace(model, WIDE, torch.tensor([0, 0]))
    assert (other.row("gradient") - product[:, 0]).abs().max() > 1e-3
    torch.testing.assert_close(other.row("mean"), traced.row("mean"))


def test_trace_follows_the_models_own_decision_and_leaves_the_model_as_it_was() -> None:
    model = shaken(ViT(5, (16, 24), 8, MINI)).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    traced = trace(model, WIDE)
    assert traced.classes.tolist() == traced.logits.argmax(dim=1).tolist()
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with torch.no_grad():  # a caller's own setting must not silence the gradients
        assert trace(model, WIDE).gradients[0].abs().sum() > 0


def test_a_model_without_prefix_gives_the_mean_over_its_patches() -> None:
    from timm.models.vision_transformer import VisionTransformer

    model = VisionTransformer(
        img_size=(16, 24), patch_size=8, embed_dim=24, depth=2, num_heads=3, num_classes=5,
        class_token=False, global_pool="avg",
    )  # fmt: skip
    traced = trace(shaken(model), WIDE)
    torch.testing.assert_close(traced.row("mean"), traced.weights[-1].mean(dim=(1, 2)))
    assert "distillation" not in traced.kinds


@pytest.mark.parametrize("average", ["logits", "softmax"])
def test_gradient_maps_of_two_heads_read_the_tokens_of_both(average: str) -> None:
    """Each head's logit counts half, so a map is the mean of the two heads' own maps."""
    model = shaken(DeiT(5, (16, 24), 8, MINI, average=average))
    traced = trace(model, WIDE)
    rows = gradient_rollout(traced.weights, traced.gradients)
    torch.testing.assert_close(traced.row("gradient"), rows[:, :2].mean(dim=1))
    assert (rows[:, 0] - rows[:, 1]).abs().max() > 1e-3
    torch.nn.init.zeros_(model.head.weight)  # type: ignore[arg-type, union-attr]
    torch.nn.init.zeros_(model.head.bias)  # type: ignore[arg-type, union-attr]
    deaf = trace(model, WIDE)  # to its class head: what the distillation token reads must show
    last = gradient_rollout(deaf.weights[-1:], deaf.gradients[-1:])
    assert last[:, 1, 2:].abs().max() > 0 and last[:, 0, 2:].abs().max() == 0


@pytest.mark.parametrize(
    ("options", "kinds_of_tokens", "asked"),
    [
        ({"reg_tokens": 4}, ("class", *["register"] * 4), [0]),
        ({"reg_tokens": 4, "class_token": False, "global_pool": "avg"}, (), range(4, 10)),
        ({"reg_tokens": 4, "global_pool": "avg"}, (), range(5, 11)),
    ],
)
def test_registers_are_not_shown_as_the_class_token(
    options: dict[str, Any], kinds_of_tokens: tuple[str, ...], asked: Sequence[int]
) -> None:
    from timm.models.vision_transformer import VisionTransformer

    model = VisionTransformer(
        img_size=(16, 24), patch_size=8, embed_dim=24, depth=2, num_heads=3, num_classes=5,
        **options,
    )  # fmt: skip
    traced = trace(shaken(model), WIDE)
    assert traced.prefix == kinds_of_tokens
    expected = traced.weights[-1][:, :, list(asked)].mean(dim=(1, 2))
    torch.testing.assert_close(traced.row("mean"), expected)
    assert traced.plane("mean").shape == (2, 16, 24)
    assert "distillation" not in traced.kinds


def test_attention_of_class_blocks_alone_has_maps_and_no_rollout() -> None:
    import timm

    model = timm.create_model("cait_xxs24_224", img_size=32, num_classes=5)
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    traced = trace(model, images)
    assert traced.kinds == ("mean", "head", "max")
    assert traced.plane("mean").shape == (1, 32, 32)
    assert real_features(model, images)["blocks.23"].shape == (1, 192, 2, 2)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("men",), "kind: no map 'men' of this model. Valid: mean, head, max, dist"),
        (("mean", 3), "layer: expected -3 to 2; got 3"),
        (("head", 0, 3), "head: expected -3 to 2; got 3"),
    ],
)
def test_what_the_model_does_not_have_is_refused(
    traced: Trace, arguments: tuple[str, int, int], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        traced.row(*arguments)


def test_layers_and_heads_may_be_counted_from_one(traced: Trace) -> None:
    assert traced.place(2, 3) == {"layer": 1, "head": 2}
    assert traced.place(None, 1) == {"layer": 2, "head": 0}
    for layer, head, told in ((4, 1, "layer: expected 1 to 3; got 4"), (0, 1, "layer"),
                              (1, 4, "head: expected 1 to 3; got 4")):  # fmt: skip
        with pytest.raises(ValueError, match=told):
            traced.place(layer, head)


def test_atresnet_over_positions_has_a_map_at_each_stage() -> None:
    model = shaken(AtResNet(5, (64, 96), "spatial"), 0.02)
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    traced = trace(model, images)
    assert traced.grids == [(0, 16, 24), (0, 8, 12), (0, 4, 6), (0, 2, 3)]
    with record_features(model) as features:
        model(images)
    for stage, grid in enumerate(traced.grids):
        assert grid is not None
        assert features[f"layer{stage + 1}"].shape[-2:] == (grid.rows, grid.columns)
        torch.testing.assert_close(
            traced.row("mean", stage), traced.weights[stage][:, :, 0].mean(dim=1)
        )
    assert traced.kinds == ("mean", "head", "max")
    assert layer_grid(model, 3, (33, 65)) == (0, 2, 3)  # strided layers round up


def test_atresnet_over_channels_has_weights_and_no_map() -> None:
    traced = trace(AtResNet(5, 32, "channel").eval(), torch.rand(1, 3, 32, 32))
    assert [m.shape[-1] for m in traced.weights] == [64, 128, 256, 512]
    assert traced.kinds == ()
    with pytest.raises(ValueError, match="attends to channels, not to positions"):
        traced.plane("mean")


def test_attention_within_windows_is_refused_for_it_is_not_over_the_image() -> None:
    from timm.models.swin_transformer import SwinTransformer

    model = SwinTransformer(
        img_size=32, patch_size=4, window_size=4, embed_dim=12, depths=(2,), num_heads=(3,)
    )
    with pytest.raises(NothingToRecordError, match="not over the patches of the whole image"):
        trace(model, torch.rand(1, 3, 32, 32))


def test_gradient_rollout_refuses_what_does_not_fit() -> None:
    one = torch.ones(1, 2, 3, 3)
    for maps, gradients in (([], []), ([one], [one, one]), ([one], [torch.ones(1, 2, 4, 4)])):
        with pytest.raises(ValueError, match="as many gradients as maps"):
            gradient_rollout(maps, gradients)


@pytest.fixture(scope="module")
def convolutional() -> nn.Module:
    torch.manual_seed(0)
    return resnet18(num_classes=5).eval()


def cam_by_hand(model: nn.Module, images: Tensor, classes: list[int], layer: str) -> Tensor:
    """Eqs. 1 and 2 of Grad-CAM with plain autograd, before resizing."""
    kept: list[Tensor] = []
    handle = model.get_submodule(layer).register_forward_hook(lambda *a: kept.append(a[2]))
    logits = model(images)
    handle.remove()
    (gradient,) = torch.autograd.grad(sum(logits[i, c] for i, c in enumerate(classes)), kept[0])  # type: ignore[arg-type]
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    return (weights * kept[0]).sum(dim=1).relu().detach()


@pytest.mark.parametrize("layer", ["layer4", "layer2"])
def test_grad_cam_equals_the_plain_autograd_computation(
    convolutional: nn.Module, layer: str
) -> None:
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    plane = grad_cam(convolutional, images, torch.tensor([1, 4]), layer)
    by_hand = cam_by_hand(convolutional, images, [1, 4], layer)[:, None]
    expected = F.interpolate(by_hand, (64, 96), mode="bilinear")[:, 0]
    torch.testing.assert_close(plane, expected, atol=1e-6, rtol=1e-4)
    assert plane.max() > 0


def test_grad_cam_asks_for_the_decision_and_leaves_the_model_as_it_was() -> None:
    torch.manual_seed(0)
    model = resnet18(num_classes=5).train()
    mean = model.bn1.running_mean.clone()  # type: ignore[union-attr, operator]
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    plane = grad_cam(model, images)
    assert model.training and torch.equal(model.bn1.running_mean, mean)  # type: ignore[arg-type]
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())
    classes = model.eval()(images).argmax(dim=1)
    torch.testing.assert_close(plane, grad_cam(model, images, classes))


@pytest.mark.parametrize("layer", ["layer4", "layer2"])
def test_grad_cam_equals_captums(convolutional: nn.Module, layer: str) -> None:
    from captum.attr import LayerGradCam

    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    classes = torch.tensor([1, 4])
    captums = LayerGradCam(convolutional, convolutional.get_submodule(layer))
    theirs = captums.attribute(images, target=classes, relu_attributions=True)
    expected = F.interpolate(theirs.detach(), (64, 96), mode="bilinear")[:, 0]
    found = grad_cam(convolutional, images, classes, layer)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


class ChannelsLast(nn.Module):
    """A network of two stages that computes with channels last, if it is told to."""

    def __init__(self, last: bool) -> None:
        super().__init__()
        self.output_fmt = "NHWC" if last else "NCHW"
        generator = torch.Generator().manual_seed(0)
        self.stages = nn.Sequential(Moved(nn.Conv2d(3, 8, 4, 4), False, last),
                                    Moved(nn.Conv2d(8, 6, 3, 1, 1), last, last))  # fmt: skip
        for parameter in self.parameters():
            nn.init.normal_(parameter, generator=generator)
        self.last = last

    def forward(self, images: Tensor) -> Tensor:
        x = self.stages(images)
        return x.square().mean(dim=(1, 2) if self.last else (2, 3))


class Moved(nn.Module):
    """A convolution between layouts."""

    def __init__(self, layer: nn.Module, comes_last: bool, goes_last: bool) -> None:
        super().__init__()
        self.layer, self.comes_last, self.goes_last = layer, comes_last, goes_last

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x.permute(0, 3, 1, 2) if self.comes_last else x)
        return x.permute(0, 2, 3, 1) if self.goes_last else x


@pytest.mark.parametrize("size", [(32, 24), (24, 24)])  # (24, 24): 6 x 6 cells of 6 channels
def test_grad_cam_and_features_do_not_depend_on_where_the_channels_stand(
    size: tuple[int, int],
) -> None:
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(2))
    first, last = ChannelsLast(False), ChannelsLast(True)
    torch.testing.assert_close(first(images), last(images))
    torch.testing.assert_close(grad_cam(last, images), grad_cam(first, images))
    for name, plane in real_features(first, images).items():
        torch.testing.assert_close(real_features(last, images)[name], plane)
    assert grad_cam(first, images).std() > 0


def test_grad_cam_of_a_transformer_weights_what_the_last_attention_reads(deit: nn.Module) -> None:
    """pytorch-grad-cam's reshape for ViT, written out: tokens without prefix, row by row."""
    kept: list[Tensor] = []
    block = deit.get_submodule("blocks.2.norm1")
    handle = block.register_forward_hook(lambda *a: kept.append(a[2]))
    logits = deit(WIDE)
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[0, 1] + logits[1, 3], kept[0])
    planes, slopes = (t[:, 2:].view(2, 2, 3, 24).permute(0, 3, 1, 2) for t in (kept[0], gradient))
    expected = (slopes.mean(dim=(2, 3), keepdim=True) * planes).sum(dim=1).relu()
    found = grad_cam(deit, WIDE, torch.tensor([1, 3]))
    resized = F.interpolate(expected[:, None], (16, 24), mode="bilinear")[:, 0]
    torch.testing.assert_close(found, resized, atol=1e-6, rtol=1e-4)
    assert (found.amax(dim=(1, 2)) > 0).any()


def test_grad_cam_of_a_model_without_known_stages_is_refused() -> None:
    with pytest.raises(NothingToRecordError, match="no stages known by name"):
        grad_cam(nn.Sequential(), WIDE)


def test_grad_cam_agrees_with_pytorch_grad_cam(convolutional: nn.Module) -> None:
    """It stretches each map to [0, 1] and resizes with OpenCV; so the coarse maps are compared."""
    others: Callable[..., object] = pytest.importorskip("pytorch_grad_cam", reason=OTHERS).GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with others(model=convolutional, target_layers=[convolutional.layer3]) as cam:  # type: ignore[attr-defined]
        theirs = torch.from_numpy(cam(images, [ClassifierOutputTarget(c) for c in (1, 4)]))
    ours = grad_cam(convolutional, images, torch.tensor([1, 4]), "layer3")
    low, high = ours.amin((1, 2), keepdim=True), ours.amax((1, 2), keepdim=True)
    assert ((ours - low) / (high - low) - theirs).abs().max() < 0.02


def test_rollout_agrees_with_fast_vit_rollout() -> None:
    """It needs fused attention switched off by hand, and its discarding too; ours needs neither."""
    other = pytest.importorskip("fast_vit_rollout", reason=OTHERS).ViTAttentionRollout
    from timm.models.deit import VisionTransformerDistilled

    model = shaken(
        VisionTransformerDistilled(
            img_size=16, patch_size=8, embed_dim=24, depth=3, num_heads=3, num_classes=5
        )
    )
    images = WIDE[..., :16]
    ours = attention_rollout(trace(model, images).weights)
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    torch.testing.assert_close(ours, other(model, discard_ratio=0)(images), atol=1e-6, rtol=1e-5)


def test_integrated_gradients_add_up_to_what_the_logit_gained(convolutional: nn.Module) -> None:
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    classes = torch.tensor([1, 4])
    maps = integrated_gradients(convolutional, images, classes, steps=200)
    with torch.no_grad():
        gain = convolutional(images) - convolutional(torch.zeros_like(images))
    torch.testing.assert_close(maps.sum(dim=(1, 2)), gain.gather(1, classes[:, None])[:, 0],
                               atol=0.01, rtol=0.01)  # fmt: skip


class Bright(nn.Module):
    """Class 1 has the mean of the top left quarter for its logit, times 12."""

    def forward(self, images: Tensor) -> Tensor:
        bright = images[:, :, :4, :4].mean(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(bright), 12 * bright], dim=1)


def test_occlusion_is_the_fall_of_the_logit_written_out() -> None:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    found = occlusion(Bright(), images, torch.tensor([1, 1]), side=2, stride=2)
    for image, plane in zip(images, found, strict=True):
        grey = image.mean(dim=(1, 2), keepdim=True)
        for row in range(0, 8, 2):
            for column in range(0, 8, 2):
                hidden = image.clone()
                hidden[:, row : row + 2, column : column + 2] = grey
                fall = Bright()(image[None])[0, 1] - Bright()(hidden[None])[0, 1]
                expected = fall.expand(2, 2)
                square = plane[row : row + 2, column : column + 2]
                torch.testing.assert_close(square, expected, atol=1e-5, rtol=1e-4)
    assert found[:, 4:].abs().max() == 0 and found[:, :4, :4].abs().max() > 0


@pytest.mark.parametrize(("side", "stride"), [(0, 0), (2, 3), (9, 1)])
def test_squares_that_do_not_cover_the_image_are_refused(side: int, stride: int) -> None:
    with pytest.raises(ValueError, match="side, stride: expected"):
        occlusion(Bright(), torch.rand(1, 3, 8, 8), side=side, stride=stride)
