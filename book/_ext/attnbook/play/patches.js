// Choose the side of a patch: tokens, cost, and what a patch's mean leaves of the picture.
Play.figure("patches", (box, say) => {
  const { make, draw, slider } = Play;
  const SIDE = 224, WIDTH = 192, BLOCKS = 12, HEADS = 3, SIDES = [4, 7, 8, 14, 16, 28, 32, 56, 112];
  const within = (x, y, a, b, r, s = r) => ((x - a) / r) ** 2 + ((y - b) / s) ** 2 < 1;
  const under = (x, y) => y > 0.15 + 1.2 * Math.abs(Math.abs(x - 0.5) - 0.24) && y < 0.5 && Math.abs(x - 0.5) < 0.33;
  const darkness = (x, y) => { // a cat's head, in a formula
    if (within(x, y, 0.38, 0.52, 0.055) || within(x, y, 0.62, 0.52, 0.055) || within(x, y, 0.5, 0.67, 0.045, 0.03)) return 0.05;
    return within(x, y, 0.5, 0.58, 0.33, 0.28) || under(x, y) ? 0.8 : 0.12;
  };
  const mean = (row, column, patch) => {
    let sum = 0;
    for (let y = 0; y < patch; y++) for (let x = 0; x < patch; x++)
      sum += darkness((column * patch + x + 0.5) / SIDE, (row * patch + y + 0.5) / SIDE);
    return sum / patch ** 2;
  };
  const svg = draw("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, "aria-hidden": "true", class: "play-plane" });
  const facts = make("ul", { className: "play-facts" });

  function show(patch) {
    const across = SIDE / patch, tokens = across ** 2 + 1;
    svg.replaceChildren(...Array.from({ length: across ** 2 }, (_, i) => draw("rect", {
      x: (i % across) * patch, y: Math.floor(i / across) * patch, width: patch, height: patch,
      class: "play-patch", "fill-opacity": mean(Math.floor(i / across), i % across, patch).toFixed(3),
    })));
    const linear = 12 * tokens * WIDTH ** 2, square = 2 * tokens ** 2 * WIDTH;
    const work = (BLOCKS * (linear + square)) / 1e9, memory = (4 * HEADS * tokens ** 2) / 1e6;
    const lines = [
      `${tokens.toLocaleString("en")} tokens, the class token among them`,
      `${work.toPrecision(3)} GMAC in twelve blocks of DeiT-T's width, ${Math.round((100 * square) / (linear + square))}% of it from pairs`,
      `${memory < 0.1 ? memory.toPrecision(1) : memory.toPrecision(3)} MB for one block's weights, if they are written down`,
    ];
    facts.replaceChildren(...lines.map((line) => make("li", {}, line)));
    say(`Patches of ${patch} pixels: ${lines[0]}, ${work.toPrecision(3)} GMAC.`);
  }
  const chosen = slider("patch", { min: 0, max: SIDES.length - 1, step: 1, value: SIDES.indexOf(16) }, (place) => pick(place));
  const input = chosen.element.querySelector("input"), shown = chosen.element.querySelector("output");
  const pick = (place) => {
    shown.textContent = `${SIDES[place]} pixels`;
    input.setAttribute("aria-valuetext", shown.textContent);
    show(SIDES[place]);
  };
  box.append(svg, make("div", { className: "play-side" }, chosen.element, facts));
  pick(SIDES.indexOf(16));
});
