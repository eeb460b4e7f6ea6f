"""The AtResNet of chapter 6: a class token reads each of four stages, in one of two ways."""

from diagram import Diagram

STAGES = (("conv2_x", "64 maps, 56 by 56"), ("conv3_x", "128 maps, 28 by 28"),
          ("conv4_x", "256 maps, 14 by 14"), ("conv5_x", "512 maps, 7 by 7"))  # fmt: skip


def draw() -> Diagram:
    """Draw it from top to bottom, the trunk on the left, the class token on the right."""
    d = Diagram(342, 704)
    trunk, token = 90, 262
    image = d.box(trunk, 22, 150, 28, "image, 224 by 224")
    stem = d.box(trunk, 76, 150, 42, "conv1, pooling:\n64 maps, 56 by 56")
    learned = d.box(token, 76, 158, 42, "class token, learned:\n256 numbers")
    d.down(image, stem)
    above, asked = stem, learned
    for place, (name, maps) in enumerate(STAGES):
        y = 150 + 82 * place
        stage = d.box(trunk, y, 150, 42, f"{name}:\n{maps}")
        encoder = d.box(token, y, 130, 42, f"encoder {place + 1}:\nattention, MLP", "mix")
        d.down(above, stage)
        d.down(asked, encoder)
        d.arrow(stage.right, encoder.left)
        above, asked = stage, encoder
    head = d.box(token, 466, 130, 28, "fc: 10 scores", "each")
    d.down(asked, head)
    d.text(trunk, 448, "goes no further: no\npooling, no old fc", faint=True)
    d.text(171, 520, "What attention compares, at conv5_x")
    channel, spatial = 90, 262
    for row in range(4):
        d.box(channel, 552 + 17 * row, 120, 13, kind="mix")
    d.text(channel, 654, "channel tokens: 512\nmaps of 49 numbers")
    for column in range(7):
        d.box(spatial - 60 + 20 * column, 577, 13, 64, kind="mix")
    d.text(spatial, 654, "spatial tokens: 49\nplaces of 512 numbers")
    d.text(171, 692, "one bar: one token", faint=True)
    return d
