"""Figure 2.1: the encoder of the original Transformer, which normalises after each sum."""

from diagram import Diagram


def draw() -> Diagram:
    """Draw it from top to bottom."""
    d = Diagram(330, 556)
    x = 190
    tokens = d.box(x, 20, 210, 28, "token embeddings, N by C")
    position = d.plus(x, 66)
    places = d.box(58, 66, 92, 28, "positions")
    d.frame(52, 92, 270, 324)
    d.text(200, 108, "repeated L times", "start", faint=True)
    attention = d.box(x, 164, 210, 42, "multi-head attention\namong all tokens", "mix")
    sum1 = d.plus(x, 212)
    norm1 = d.box(x, 250, 210, 26, "layer normalisation")
    mlp = d.box(x, 311, 210, 42, "MLP, for each token:\nlinear, ReLU, linear", "each")
    sum2 = d.plus(x, 357)
    norm2 = d.box(x, 394, 210, 26, "layer normalisation")
    out = d.box(x, 450, 210, 28, "encoded tokens, N by C")
    d.down(tokens, position, attention)
    d.arrow(places.right, position.left)
    d.down(attention, sum1, norm1, mlp, sum2, norm2, out)
    decoder = d.box(x, 522, 250, 42, "decoder: writes another sentence\n(not needed for images)",
                    dashed=True, faint=True)  # fmt: skip
    d.arrow(out.bottom, decoder.top, dashed=True)
    d.around((x, 128), sum1, 70)
    d.around((x, 276), sum2, 70)
    return d
