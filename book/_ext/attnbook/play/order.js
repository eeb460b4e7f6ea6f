// Shuffle the patches of a picture, with positions and without: does the class token's answer change?
Play.figure("order", (box, say) => {
  const { make, draw, softmax, dot, number } = Play;
  const shades = [0.1, 0.8, 0.2, 0.7, 0.9, 0.6, 0.2, 0.3, 0.1]; // of nine patches, row by row
  const places = shades.map((_, i) => [Math.sin(2 * i), Math.cos(3 * i)]); // a vector for each place
  const QUERY = [2, 1], SIDE = 60;
  let order = shades.map((_, i) => i);
  const svg = draw("svg", { viewBox: "0 0 182 182", "aria-hidden": "true", class: "play-plane" });
  const positions = make("input", { type: "checkbox", checked: true });

  function answer(arranged) {
    const tokens = arranged.map((patch, place) =>
      [shades[patch], 1 - shades[patch]].map((x, axis) => x + (positions.checked ? places[place][axis] : 0)));
    const weights = softmax(tokens.map((token) => dot(QUERY, token)));
    return [0, 1].map((axis) => dot(weights, tokens.map((token) => token[axis])));
  }

  function show() {
    svg.replaceChildren(...order.map((patch, place) => draw("rect", {
      x: 1 + (place % 3) * SIDE, y: 1 + Math.floor(place / 3) * SIDE, width: SIDE - 3, height: SIDE - 3,
      class: "play-patch", "fill-opacity": shades[patch],
    })));
    const now = answer(order), straight = answer([...order].sort((a, b) => a - b));
    const same = now.every((x, i) => Math.abs(x - straight[i]) < 1e-9);
    const words = (pair) => `(${pair.map(number).join(", ")})`;
    say(`${positions.checked ? "With" : "Without"} positions the class token takes up ${words(now)}; of the picture in order it is ${words(straight)}: ${same ? "the same" : "another answer"}.`);
  }
  const shuffle = make("button", { type: "button" }, "Shuffle the patches");
  shuffle.addEventListener("click", () => {
    order = order.map((patch) => [Math.random(), patch]).sort((a, b) => a[0] - b[0]).map(([, patch]) => patch);
    show();
  });
  const back = make("button", { type: "button" }, "In order");
  back.addEventListener("click", () => { order.sort((a, b) => a - b); show(); });
  positions.addEventListener("change", show);
  const switched = make("label", { className: "play-slider" }, positions, " add a position to each token");
  box.append(svg, make("div", { className: "play-side" }, make("p", {}, shuffle, " ", back), switched));
  show();
});
