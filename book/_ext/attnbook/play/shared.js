// What the interactive figures share: elements, sliders, and a sentence that says what changed.
window.Play = (() => {
  "use strict";
  const SVG = Object.assign(document.createElement("div"), { innerHTML: "<svg></svg>" }).firstChild.namespaceURI;

  function make(name, properties = {}, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  }

  function draw(name, attributes = {}, ...children) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  /** A labelled slider; `changed` is called with its number. */
  function slider(label, { min, max, step, value }, changed) {
    const input = make("input", { type: "range", min, max, step, value });
    const shown = make("output", {}, String(value));
    input.addEventListener("input", () => {
      shown.textContent = input.value;
      changed(Number(input.value));
    });
    const set = (number) => {
      input.value = number;
      shown.textContent = input.value;
    };
    return { element: make("label", { className: "play-slider" }, `${label} `, input, " ", shown), set };
  }

  /** Drag on a drawing: `moved` is called with the place in its own units. */
  function drag(svg, moved) {
    const place = (event) => {
      const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      moved(x, y);
    };
    svg.addEventListener("pointerdown", (event) => {
      svg.setPointerCapture(event.pointerId);
      place(event);
    });
    svg.addEventListener("pointermove", (event) => { if (svg.hasPointerCapture(event.pointerId)) place(event); });
  }

  function softmax(scores) {
    const powers = scores.map((score) => Math.exp(score - Math.max(...scores)));
    const sum = powers.reduce((a, b) => a + b);
    return powers.map((power) => power / sum);
  }

  const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
  const number = (x) => x.toFixed(2).replace("-", "\u2212");

  /** Bring each figure of that name to life; `build(box, say)` fills the box. */
  function figure(name, build) {
    for (const box of document.querySelectorAll(`[data-play="${name}"]`)) {
      const said = make("p", { className: "play-said" });
      said.setAttribute("role", "status");
      build(box, (words) => { said.textContent = words; });
      box.append(said);
      box.closest("figure").classList.add("is-live");
    }
  }
  return { make, draw, slider, drag, softmax, dot, number, figure };
})();
