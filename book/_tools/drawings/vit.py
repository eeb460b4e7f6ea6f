"""Figure 4.1: ViT, from the image to the classes."""

from diagram import Diagram


def draw() -> Diagram:
    """Draw it from top to bottom; nine patches stand for 196."""
    d = Diagram(330, 688)
    x = 190
    for row in range(3):
        d.row(66, 22 + 25 * row, ["", "", ""], 23, gap=2)
    d.text(120, 36, "image, 224 by 224 pixels,", "start")
    d.text(120, 55, "cut into patches of 16 by 16", "start")
    cut = d.row(190, 130, [str(n) for n in range(1, 10)], 26, gap=4)
    d.arrow((66, 86), (66, cut[0].y - 13))
    project = d.box(190, 175, 266, 28, "linear projection of each patch", "each")
    for patch in cut:
        d.arrow(patch.bottom, (patch.x, project.y - 14))
    tokens = d.row(175, 226, ["c", *(str(n) for n in range(1, 10))], 26, gap=4)
    for token in tokens[1:]:
        d.arrow((token.x, project.y + 14), token.top)
    d.text(40, 203, "class", faint=True)
    position = d.plus(x, 268)
    places = d.box(58, 268, 92, 28, "positions")
    d.arrow(places.right, position.left)
    d.arrow((x, 241), position.top)
    d.frame(52, 292, 270, 290)
    d.text(200, 308, "repeated L times", "start", faint=True)
    norm1 = d.box(x, 350, 210, 26, "layer normalisation")
    attention = d.box(x, 397, 210, 42, "multi-head attention\namong all tokens", "mix")
    sum1 = d.plus(x, 441)
    norm2 = d.box(x, 483, 210, 26, "layer normalisation")
    mlp = d.box(x, 530, 210, 42, "MLP, for each token:\nlinear, GELU, linear", "each")
    sum2 = d.plus(x, 569)
    d.down(position, norm1, attention, sum1, norm2, mlp, sum2)
    d.around((x, 328), sum1, 70)
    d.around((x, 460), sum2, 70)
    last = d.box(x, 610, 210, 26, "layer normalisation")
    head = d.box(x, 668, 210, 28, "head: one score a class", "each")
    d.down(sum2, last, head)
    d.text(200, 638, "of the class token", "start", faint=True)
    return d
