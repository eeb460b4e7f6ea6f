"use strict";
// Test a map: erase the patches it calls strongest, weakest, or any, and watch both networks.

const ORDERS = [["brightest", "the brightest"], ["darkest", "the darkest"], ["random", "any, at random"]];
const DASHES = {brightest: "", darkest: "7 4", random: "2 4"};
const POINTS = 16; // of a curve, besides its start

/** Patches in the order in which they are erased; random is the same for everyone, and each time. */
function erasingOrder(order, patches) {
  const places = [...patches.keys()];
  if (order === "random") {
    let seed = 20210701;
    const random = () => { seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0; return seed / 2 ** 32; };
    for (let i = places.length - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [places[i], places[j]] = [places[j], places[i]];
    }
    return places;
  }
  places.sort((a, b) => patches[b] - patches[a] || a - b);
  return order === "brightest" ? places : places.reverse();
}

/** Controls, and the probability of the first answer's class against the patches erased. */
function experimentPanel(act, answered) {
  const count = element("input", {type: "range", min: 0, max: PATCHES, value: 0, "aria-label": "Patches erased", input: () => eraseFirst(Number(count.value))});
  const counted = element("output", {}), run = element("button", {type: "button", click: () => grow()}, "Draw the whole curve");
  const back = element("button", {type: "button", click: () => act({erased: new Set()})}, "Put all back");
  let order = "brightest", direction = "deletion", current = null, stop = false, curves = [];
  const orders = choice("Patches", ORDERS, value => { order = value; eraseFirst(Number(count.value)); });
  orders.check(order);
  const directions = choice("What happens", [["deletion", "erase"], ["insertion", "put into an empty picture"]], value => { direction = value; eraseFirst(Number(count.value)); });
  directions.check(direction);
  const said = element("p", {role: "status"}), note = element("p", {class: "look-note"}), legend = element("ul", {class: "look-legend"});
  const plot = drawn("svg", {viewBox: "0 0 440 136", role: "img", class: "look-plot"});

  const chosenOrder = () => erasingOrder(order, mapRow(current.whole, current.state).subarray(PREFIX));
  const erasedBy = number => { const all = chosenOrder(); return new Set(direction === "deletion" ? all.slice(0, number) : all.slice(number)); };
  function eraseFirst(number) {
    if (current) act({erased: erasedBy(number)});
  }

  /** The probability of the class that the network named before anything was erased. */
  const shareOf = (logits, first) => probabilities(logits)[largest(first)];

  async function grow() {
    if (run.dataset.running) { stop = true; return; }
    run.dataset.running = "yes";
    tell(run, "Stop");
    stop = false;
    try {
      await answered();
      if (!stop) await growCurve();
    } catch {
      // what could not be loaded is said beside the networks' button
    } finally {
      delete run.dataset.running;
      tell(run, "Draw the whole curve");
    }
  }

  async function growCurve() {
    const {state, whole} = current, made = {order, direction, map: mapName(state), points: []};
    curves = [...curves.filter(c => c.order !== order || c.direction !== direction || c.map !== made.map), made].slice(-4);
    const all = chosenOrder();
    for (let step = 0; step <= POINTS && !stop; step++) {
      const number = Math.round(step * PATCHES / POINTS);
      const erased = new Set(made.direction === "deletion" ? all.slice(0, number) : all.slice(number));
      const pixels = erase(whole.pixels, erased);
      const [student, teacher] = await Promise.all([ask("student", pixels, true), ask("teacher", pixels, true)]);
      if (whole !== current.whole) break; // another picture was chosen meanwhile
      made.points.push([number, shareOf(student.logits, whole.logits), shareOf(teacher.logits, whole.teacher)]);
      draw();
    }
    if (made.points.length > POINTS) {
      const areas = [1, 2].map(which => area(made.points, which));
      tell(said, `${made.map}, ${ORDERS.find(([name]) => name === made.order)[1]} ${made.direction === "deletion" ? "erased" : "put back"} first: mean probability over the curve ${short(areas[0])} for ${STUDENT}, ${short(areas[1])} for ${TEACHER}.`);
    }
  }

  function area(points, which) {
    let sum = 0;
    for (let i = 1; i < points.length; i++) sum += (points[i][0] - points[i - 1][0]) * (points[i][which] + points[i - 1][which]) / 2;
    return sum / PATCHES;
  }

  function draw() {
    const x = number => 40 + 390 * number / PATCHES, y = share => 8 + 88 * (1 - share);
    const axes = [0, 0.5, 1].flatMap(share => [drawn("line", {x1: 40, x2: 430, y1: y(share), y2: y(share), class: "look-axis"}), drawn("text", {x: 34, y: y(share) + 4, "text-anchor": "end"}, percent(share))]);
    const ticks = [0, 0.25, 0.5, 0.75, 1].map(part => drawn("text", {x: x(part * PATCHES), y: 112, "text-anchor": "middle"}, Math.round(part * PATCHES)));
    const lines = curves.flatMap(curve => [1, 2].map(which => drawn("polyline", {
      points: curve.points.map(point => `${x(point[0])},${y(point[which])}`).join(" "),
      class: which === 1 ? "is-student" : "is-teacher", "stroke-dasharray": DASHES[curve.order], "stroke-width": curve === curves.at(-1) ? 2.5 : 1.3})));
    const dots = [];
    if (current && current.answer.teacher && current.whole.teacher) {
      const number = direction === "deletion" ? current.state.erased.size : PATCHES - current.state.erased.size;
      const here = [shareOf(current.answer.logits, current.whole.logits), shareOf(current.answer.teacher, current.whole.teacher)];
      dots.push(drawn("circle", {cx: x(number), cy: y(here[0]), r: 5, class: "is-student"}), drawn("rect", {x: x(number) - 4.5, y: y(here[1]) - 4.5, width: 9, height: 9, class: "is-teacher"}));
    }
    plot.replaceChildren(...axes, ...ticks, drawn("text", {x: 235, y: 130, "text-anchor": "middle"}, `patches ${direction === "deletion" ? "erased" : "put back"}, of ${PATCHES}`), ...lines, ...dots);
    plot.setAttribute("aria-label", `Probability of the first answer's class against the number of patches. ${curves.map(curve => `${curve.map}, ${curve.order}: `
      + `${curve.points.map(([number, student, teacher]) => `${number}: ${percent(student)}, ${percent(teacher)}`).join("; ")}`).join(". ") || "No curve is drawn yet."}`);
    legend.replaceChildren(...curves.map(curve => element("li", {}, sample(DASHES[curve.order]), `${curve.map}, ${curve.direction === "deletion" ? "" : "insertion, "}${curve.order}`,
      ...(curve.points.length > POINTS ? [`: mean ${short(area(curve.points, 1))}, teacher ${short(area(curve.points, 2))}`] : []))));
  }
  const sample = dashes => drawn("svg", {viewBox: "0 0 34 10", width: 34, height: 10, "aria-hidden": "true", class: "look-plot"}, drawn("line", {x1: 0, x2: 34, y1: 5, y2: 5, class: "look-sample", "stroke-dasharray": dashes, "stroke-width": 2.5}));

  return {
    node: panel("experiment", "Does the map show what mattered?", orders.set, directions.set,
      element("label", {class: "look-layer"}, "How many ", count, " ", counted), element("div", {class: "look-buttons"}, run, back),
      plot, element("p", {class: "look-note"}, element("span", {class: "look-key is-student"}, "\u25cf"), ` ${STUDENT}  `, element("span", {class: "look-key is-teacher"}, "\u25a0"), ` ${TEACHER}`), legend, said, note),
    show(view) {
      if (current && view.whole !== current.whole) curves = [];
      current = view;
      const {size} = view.state.erased;
      count.value = direction === "deletion" ? size : PATCHES - size;
      tell(counted, `${count.value} of ${PATCHES}`);
      back.disabled = !size;
      tell(note, `The order is that of ${mapName(view.state).replace(/^./, letter => letter.toLowerCase())}, for the whole picture. Erased patches get the picture's mean colour. The probability is that of ${CLASSES[largest(view.whole.logits)]} for ${STUDENT}`
        + `${view.whole.teacher ? ` and of ${CLASSES[largest(view.whole.teacher)]} for ${TEACHER}: what each said of the whole picture.` : "."}`);
      draw();
    },
  };
}
