"""Figure 5.1: DeiT, with both tokens, both heads and the teacher."""

from diagram import Diagram


def draw() -> Diagram:
    """Draw it from top to bottom; seven patches stand for 196."""
    d = Diagram(342, 776)
    x, heads = 158, 644
    image = d.box(x + 28, 24, 212, 28, "the image, cut into patches")
    tokens = d.row(x, 90, ["c", "t", *(str(n) for n in range(1, 8))], 24)
    d.text(tokens[0].x - 12, 66, "learned", "start", faint=True)
    for patch in tokens[2:]:
        d.arrow((patch.x, 38), patch.top)
    position = d.plus(x, 132)
    places = d.box(58, 132, 92, 28, "positions")
    d.arrow(places.right, position.left)
    d.arrow((x, 104), position.top)
    d.frame(20, 158, 296, 286)
    d.text(168, 174, "a block, 12 times", "start", faint=True)
    norm1 = d.box(x, 216, 190, 26, "layer normalisation")
    attention = d.box(x, 263, 190, 42, "multi-head attention\namong all tokens", "mix")
    sum1 = d.plus(x, 305)
    norm2 = d.box(x, 347, 190, 26, "layer normalisation")
    mlp = d.box(x, 394, 190, 42, "MLP, for each token:\nlinear, GELU, linear", "each")
    sum2 = d.plus(x, 432)
    d.down(position, norm1, attention, sum1, norm2, mlp, sum2)
    d.around((x, 194), sum1, 40)
    d.around((x, 324), sum2, 40)
    d.text(258, 263, "first\nhalf", "start", faint=True)
    d.text(258, 394, "second\nhalf", "start", faint=True)
    last = d.box(x, 474, 190, 26, "layer normalisation")
    d.down(sum2, last)
    out = d.row(x, 524, ["c", "t", *[""] * 7], 24)
    d.arrow(last.bottom, (x, 512))
    d.text(out[2].x - 12, 550, "not used for the classes", "start", faint=True)
    class_head = d.box(60, heads - 46, 96, 28, "class head", "each")
    dist_head = d.box(178, heads - 46, 118, 28, "distillation head", "each")
    d.arrow(out[0].bottom, (out[0].x, heads - 60))
    d.arrow(out[1].bottom, (out[1].x, 572), (dist_head.x, 572), dist_head.top)
    loss1 = d.box(60, heads + 22, 96, 42, "loss: is it\nthe label?")
    loss2 = d.box(178, heads + 22, 130, 42, "loss: is it what\nthe teacher says?")
    d.down(class_head, loss1)
    d.down(dist_head, loss2)
    label = d.box(60, heads + 108, 96, 42, "label\nof the image")
    teacher = d.box(224, heads + 108, 172, 42, "teacher: a trained\nconvolutional network")
    d.arrow(label.top, loss1.bottom)
    d.arrow((178, teacher.y - 21), loss2.bottom)
    d.arrow(image.right, (328, image.y), (328, teacher.y), teacher.right)
    d.text(322, heads + 68, "same image", "end", faint=True)
    return d
