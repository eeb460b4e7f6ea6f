// Drag a query; scores, weights and the weighted sum follow (the chapter's example with a pencil).
Play.figure("query", (box, say) => {
  const { make, draw, slider, drag, softmax, dot, number } = Play;
  const keys = [[1, 0], [0, 1]], values = [[4, 0], [0, 8]];
  const UNIT = 42, MIDDLE = 110, REACH = 2.2;
  let query = [1.55, 0];
  const svg = draw("svg", { viewBox: "0 0 220 220", "aria-hidden": "true", class: "play-plane" });
  const arrow = (name) => draw("line", { x1: MIDDLE, y1: MIDDLE, class: name });
  const point = (line, [x, y]) => { line.setAttribute("x2", MIDDLE + UNIT * x); line.setAttribute("y2", MIDDLE - UNIT * y); };
  svg.append(
    draw("path", { d: `M0 ${MIDDLE}H220M${MIDDLE} 0V220`, class: "play-axis" }),
    ...keys.map((key, i) => { const line = arrow("play-key"); point(line, key); line.dataset.key = i; return line; }),
    draw("text", { x: MIDDLE + UNIT + 4, y: MIDDLE - 6 }, "k₁"),
    draw("text", { x: MIDDLE + 6, y: MIDDLE - UNIT - 4 }, "k₂"),
  );
  const line = arrow("play-query"), tip = draw("circle", { r: 9, class: "play-tip" });
  svg.append(line, tip);
  const body = make("tbody"), sum = make("p");
  const table = make("table", { className: "plain play-table" });
  const head = ["key", "q·k", "÷ √2", "weight", "value"].map((name) => make("th", { scope: "col" }, name));
  table.append(make("thead", {}, make("tr", {}, ...head)), body);
  const sliders = [0, 1].map((axis) => slider(`q${"₁₂"[axis]}`, { min: -REACH, max: REACH, step: 0.05, value: query[axis] }, (value) => {
    query[axis] = value;
    show();
  }));

  function show() {
    point(line, query);
    tip.setAttribute("cx", MIDDLE + UNIT * query[0]);
    tip.setAttribute("cy", MIDDLE - UNIT * query[1]);
    const scores = keys.map((key) => dot(query, key)), weights = softmax(scores.map((score) => score / Math.SQRT2));
    const out = [0, 1].map((axis) => dot(weights, values.map((value) => value[axis])));
    body.replaceChildren(...keys.map((_, i) => {
      const bar = make("span", { className: "play-bar" });
      bar.style.width = `${weights[i] * 5}rem`;
      const cells = [`k${"₁₂"[i]}`, number(scores[i]), number(scores[i] / Math.SQRT2), number(weights[i]), `(${values[i].join(", ")})`];
      const row = make("tr", {}, ...cells.map((text) => make("td", {}, text)));
      row.cells[3].prepend(bar, " ");
      return row;
    }));
    sum.textContent = `o = ${weights.map((w, i) => `${number(w)} · (${values[i].join(", ")})`).join(" + ")} = (${out.map(number).join(", ")})`;
    say(`Weights ${weights.map(number).join(" and ")}, result (${out.map(number).join(", ")}).`);
  }
  drag(svg, (x, y) => {
    query = [(x - MIDDLE) / UNIT, (MIDDLE - y) / UNIT].map((v) => Math.round(20 * Math.max(-REACH, Math.min(REACH, v))) / 20);
    sliders.forEach((one, axis) => one.set(query[axis]));
    show();
  });
  box.append(svg, make("div", { className: "play-side" }, ...sliders.map((one) => one.element), table, sum));
  show();
});
