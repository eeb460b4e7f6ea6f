"""The still twin of the layers to stack: what one output depends on."""

from diagram import Diagram

ACROSS, MIDDLE, SIDE = 15, 7, 6.4


def ways(layers: int, size: int) -> dict[int, float]:
    """Share of the ways through the layers that begin at each offset, along one axis."""
    shares = {0: 1.0}
    for _ in range(layers):
        wider: dict[int, float] = {}
        for offset, share in shares.items():
            for step in range(-(size // 2), size // 2 + 1):
                wider[offset + step] = wider.get(offset + step, 0.0) + share / size
        shares = wider
    return shares


def draw() -> Diagram:
    """Draw what the middle output depends on: after one layer, after three, and with attention."""
    d = Diagram(320, 150)
    for place, layers in enumerate((1, 3, None)):
        left = 6 + 106 * place
        along = ways(layers, 3) if layers else dict.fromkeys(range(-MIDDLE, MIDDLE + 1), 1.0)
        for row in range(ACROSS):
            for column in range(ACROSS):
                share = along.get(row - MIDDLE, 0.0) * along.get(column - MIDDLE, 0.0)
                darkness = 0.2 + 0.7 * share / along[0] ** 2 if share else 0.04
                x, y = left + SIDE * column, 6 + SIDE * row
                d.cell(x, y, SIDE - 0.6, SIDE - 0.6, darkness)
        reached = len(along) ** 2
        name = (
            f"{layers} layer{'s' * (layers > 1)}, 3 \N{MULTIPLICATION SIGN} 3"
            if layers
            else "attention"
        )
        d.text(left + SIDE * ACROSS / 2, 120, f"{name}\n{reached} of {ACROSS**2}")
    return d
