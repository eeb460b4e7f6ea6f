// Stack layers of convolutions, or take one of attention: which positions reach the middle output?
Play.figure("reach", (box, say) => {
  const { make, draw, slider } = Play;
  const ACROSS = 15, MIDDLE = 7, SIDE = 12;
  const svg = draw("svg", { viewBox: `0 0 ${ACROSS * SIDE} ${ACROSS * SIDE}`, "aria-hidden": "true", class: "play-plane" });
  const attention = make("input", { type: "checkbox" });
  let layers = 3, size = 3;

  /** Share of the ways through the layers that begin at each offset from the middle, along one axis. */
  function ways() {
    let shares = new Map([[0, 1]]);
    for (let layer = 0; layer < layers; layer++) {
      const next = new Map();
      for (const [offset, share] of shares)
        for (let step = -(size - 1) / 2; step <= (size - 1) / 2; step++)
          next.set(offset + step, (next.get(offset + step) ?? 0) + share / size);
      shares = next;
    }
    return shares;
  }

  function show() {
    const along = ways(), most = along.get(0) ** 2;
    const share = (row, column) => (along.get(row - MIDDLE) ?? 0) * (along.get(column - MIDDLE) ?? 0);
    let reached = 0;
    const cells = Array.from({ length: ACROSS ** 2 }, (_, i) => {
      const row = Math.floor(i / ACROSS), column = i % ACROSS;
      const seen = attention.checked ? 1 : share(row, column) / most;
      reached += seen > 0;
      const opacity = seen > 0 ? 0.2 + 0.7 * seen : 0.04;
      return draw("rect", { x: column * SIDE, y: row * SIDE, width: SIDE - 1, height: SIDE - 1, class: "play-patch", "fill-opacity": opacity.toFixed(3) });
    });
    const mark = draw("rect", { x: MIDDLE * SIDE, y: MIDDLE * SIDE, width: SIDE - 1, height: SIDE - 1, class: "play-mark" });
    svg.replaceChildren(...cells, mark);
    const side = 1 + layers * (size - 1);
    const what = attention.checked
      ? "One layer of attention: the marked output depends on all"
      : `${layers} ${layers > 1 ? "layers" : "layer"} of ${size} × ${size} filters, r = ${side}: the marked output depends on ${reached} of`;
    say(`${what} ${ACROSS ** 2} positions.`);
  }
  const depth = slider("layers", { min: 1, max: 7, step: 1, value: layers }, (chosen) => { layers = chosen; show(); });
  const width = slider("side of a filter", { min: 3, max: 7, step: 2, value: size }, (chosen) => { size = chosen; show(); });
  attention.addEventListener("change", show);
  const switched = make("label", { className: "play-slider" }, attention, " one layer of attention instead");
  box.append(svg, make("div", { className: "play-side" }, depth.element, width.element, switched));
  show();
});
