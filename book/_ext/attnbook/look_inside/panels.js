"use strict";
// The linked views of one answer. Each panel has `node` and `show(view)`, where a view holds the
// answer, the state of the page, and the answer before anything was erased.

const panel = (name, title, ...content) =>
  element("section", {class: "look-panel", "data-panel": name, "aria-labelledby": `look-${name}`},
    element("h2", {id: `look-${name}`, class: "look-title"}, title), ...content);

// Attention ----------------------------------------------------------------------------------

/** Attention of one token to all, by the map that is chosen: a head's, their mean, or rollout. */
function mapRow(answer, {layer, map, token}) {
  if (map === "rollout") return rollout(answer, layer).subarray(token * TOKENS, (token + 1) * TOKENS);
  const whole = answer.attention[layer - 1], row = new Float32Array(TOKENS);
  const heads = map === "mean" ? [...Array(HEADS).keys()] : [Number(map) - 1];
  for (const head of heads) {
    const at = (head * TOKENS + token) * TOKENS;
    for (let k = 0; k < TOKENS; k++) row[k] += whole[at + k] / heads.length;
  }
  return row;
}

/** Rollout from the first layer through this one: (mean of heads + identity) / 2, multiplied. */
function rollout(answer, layer) {
  answer.rollouts ??= [];
  while (answer.rollouts.length < layer) {
    const before = answer.rollouts.at(-1), depth = answer.rollouts.length + 1, step = new Float32Array(TOKENS * TOKENS);
    for (let token = 0; token < TOKENS; token++) {
      const row = mapRow(answer, {layer: depth, map: "mean", token});
      row[token] += 1;
      for (let k = 0; k < TOKENS; k++) step[token * TOKENS + k] = row[k] / 2;
    }
    answer.rollouts.push(before ? product(step, before) : step);
  }
  return answer.rollouts[layer - 1];
}

function product(a, b) {
  const out = new Float32Array(TOKENS * TOKENS);
  for (let i = 0; i < TOKENS; i++) {
    for (let j = 0; j < TOKENS; j++) {
      const share = a[i * TOKENS + j];
      for (let k = 0; k < TOKENS; k++) out[i * TOKENS + k] += share * b[j * TOKENS + k];
    }
  }
  return out;
}

const MAPS = [...Array(HEADS).keys()].map(head => [String(head + 1), `head ${head + 1}`]).concat([["mean", "mean"], ["rollout", "rollout"]]);
const mapName = ({layer, map}) => map === "rollout" ? `Rollout through layer ${layer}` : `Layer ${layer}, ${map === "mean" ? "mean of heads" : `head ${map}`}`;
/** What full colour stands for: the map's own maximum, or four times an equal share. */
const scaleOf = (row, stretched) => (stretched ? Math.max(...row.subarray(PREFIX), 1e-12) : 4 / TOKENS);

/** The picture under the chosen map; its patches can be asked, paired and erased. */
function picturePanel(act) {
  const canvas = mapCanvas(288), grid = element("div", {role: "grid", class: "look-grid", "aria-label": "Patches of the picture"});
  grid.style.gridTemplateColumns = `repeat(${COLUMNS}, 1fr)`;
  const cells = Array.from({length: PATCHES}, () => element("div", {role: "gridcell", tabindex: -1}));
  cells[0].tabIndex = 0;
  for (let row = 0; row < ROWS; row++) grid.append(element("div", {role: "row"}, ...cells.slice(row * COLUMNS, (row + 1) * COLUMNS)));
  const modes = choice("A click", [["ask", "asks"], ["pair", "pairs"], ["erase", "erases"]], mode => act({mode}));
  const tokens = choice("Who asks", [...HEAD_NAMES.map((name, token) => [token, name]), [PREFIX, "a patch"]],
    token => act({token: Number(token) === PREFIX ? PREFIX + Math.floor(PATCHES / 2) : Number(token)}));
  const said = element("p", {role: "status", class: "look-said"});

  let mode = "ask", erasing = null; // whether a stroke erases or puts back
  const use = (patch, first) => {
    if (mode === "erase") {
      if (first) erasing = !cells[patch].classList.contains("is-erased");
      act({erase: patch, on: erasing});
    } else {
      act(mode === "ask" ? {token: PREFIX + patch} : {pair: PREFIX + patch});
    }
  };
  const under = ({clientX, clientY}) => {
    const {left, top, width, height} = grid.getBoundingClientRect();
    const [row, column] = [Math.floor((clientY - top) / height * ROWS), Math.floor((clientX - left) / width * COLUMNS)];
    return row >= 0 && row < ROWS && column >= 0 && column < COLUMNS ? row * COLUMNS + column : null;
  };
  let last = null;
  grid.addEventListener("pointerdown", event => {
    last = under(event);
    if (last !== null) use(last, true);
  });
  grid.addEventListener("pointermove", event => {
    const patch = event.buttons ? under(event) : null;
    if (patch === null || patch === last) return;
    last = patch;
    use(patch, false);
  });
  grid.addEventListener("keydown", event => {
    const from = cells.indexOf(document.activeElement);
    const steps = {ArrowRight: 1, ArrowLeft: -1, ArrowDown: COLUMNS, ArrowUp: -COLUMNS, Home: -(from % COLUMNS), End: COLUMNS - 1 - from % COLUMNS};
    if (event.key === " " || event.key === "Enter") use(from, true);
    else if (event.key in steps) {
      const to = from + steps[event.key], sideways = Math.abs(steps[event.key]) === 1;
      if (to >= 0 && to < PATCHES && (!sideways || Math.floor(to / COLUMNS) === Math.floor(from / COLUMNS))) {
        cells[from].tabIndex = -1;
        cells[to].tabIndex = 0;
        cells[to].focus();
      }
    } else return;
    event.preventDefault();
  });

  return {
    node: panel("picture", "The picture in patches", modes.set, element("div", {class: "look-stage"}, canvas, grid), tokens.set, said),
    show({answer, state}) {
      const row = mapRow(answer, state), patches = row.subarray(PREFIX), most = largest(patches);
      ({mode} = state);
      paint(canvas, answer.pixels, state.plain ? null : patches, scaleOf(row, state.stretched), state.erased);
      cells.forEach((cell, patch) => {
        const marks = {"is-asked": PREFIX + patch === state.token, "is-most": patch === most, "is-pair": PREFIX + patch === state.key, "is-erased": state.erased.has(patch)};
        for (const [mark, on] of Object.entries(marks)) cell.classList.toggle(mark, on);
        const words = [marks["is-asked"] && "attends", marks["is-most"] && "attended to most", marks["is-pair"] && "in the worked example", marks["is-erased"] && "erased"];
        cell.setAttribute("aria-label", [`row ${Math.floor(patch / COLUMNS) + 1}, column ${patch % COLUMNS + 1}`, ...words.filter(Boolean)].join(", "));
        cell.setAttribute("aria-selected", marks["is-asked"]);
      });
      modes.check(mode);
      tokens.check(Math.min(state.token, PREFIX));
      const before = row.subarray(0, PREFIX).reduce((a, b) => a + b, 0);
      tell(said, `${mapName(state)}: ${tokenName(state.token)} attends most to ${tokenName(PREFIX + most)}, with ${percent(patches[most])} of its attention, `
        + `${short(patches[most] * TOKENS)} times an equal share. ${PREFIX === 1 ? "The class token takes" : "The two tokens before the patches take"} ${percent(before)}.`);
    },
  };
}

/** Layer, and every map of it as a thumbnail: each head's, their mean, and rollout. */
function mapsPanel(act) {
  const layer = element("input", {type: "range", min: 1, max: LAYERS, "aria-label": "Layer", input: () => act({layer: Number(layer.value)})});
  const shown = element("output", {});
  const thumbs = MAPS.map(() => mapCanvas(64));
  const maps = choice("Which map", MAPS.map(([value, label], i) => [value, label, thumbs[i]]), map => act({map}), {class: "look-maps"});
  const stretched = element("input", {type: "checkbox", change: () => act({stretched: stretched.checked})});
  const plain = element("input", {type: "checkbox", change: () => act({plain: plain.checked})});
  const top = element("span", {});
  return {
    node: panel("maps", "Where it looks", element("label", {class: "look-layer"}, "Layer ", layer, " ", shown), maps.set,
      element("div", {class: "look-scale"}, element("span", {}, "0"), element("span", {class: "look-ramp", "aria-hidden": "true"}), top),
      element("label", {}, stretched, " stretch each map to its own maximum"), element("label", {}, plain, " show the picture alone")),
    show({answer, state}) {
      layer.value = state.layer;
      tell(shown, `${state.layer} of ${LAYERS}`);
      maps.check(state.map);
      stretched.checked = state.stretched;
      plain.checked = state.plain;
      MAPS.forEach(([map], i) => {
        const row = mapRow(answer, {...state, map});
        paint(thumbs[i], answer.pixels, row.subarray(PREFIX), scaleOf(row, state.stretched));
      });
      const most = scaleOf(mapRow(answer, state), state.stretched);
      tell(top, `${percent(most)}, ${short(most * TOKENS)} times an equal share`);
    },
  };
}

// Answers ------------------------------------------------------------------------------------

/** Probabilities of each class by each head and by the teacher, as bars with their numbers. */
function barsPanel() {
  const body = element("tbody", {}), told = element("p", {role: "status", class: "look-told"});
  const columns = [...HEAD_NAMES.map(name => `${name} token`), "teacher"];
  const table = element("table", {class: "look-bars plain"}, element("caption", {class: "look-hidden"}, `Probabilities by ${STUDENT} and by its teacher, ${TEACHER}`),
    element("thead", {}, element("tr", {}, element("th", {scope: "col"}, "class"), ...columns.map(name => element("th", {scope: "col"}, name)))), body);
  const said = logits => { const shares = probabilities(logits), best = largest(shares); return `${CLASSES[best]}, ${percent(shares[best])}`; };
  return {
    node: panel("bars", "What they answer", told, table),
    show({answer, whole, state}) {
      const judges = [...answer.answers, answer.teacher].map(logits => logits && probabilities(logits));
      const before = [...whole.answers, whole.teacher].map(logits => logits && probabilities(logits));
      const best = judges.map(shares => shares && largest(shares));
      const order = [...CLASSES.keys()];
      if (CLASSES.length > 12) order.sort((a, b) => Math.max(...judges.map(s => s?.[b] ?? 0)) - Math.max(...judges.map(s => s?.[a] ?? 0))).splice(10);
      body.replaceChildren(...order.map(label => element("tr", {}, element("th", {scope: "row"}, CLASSES[label]), ...judges.map((shares, judge) => {
        if (!shares) return element("td", {}, "\u2026");
        const bar = element("span", {class: `look-bar ${judge < PREFIX ? "is-student" : "is-teacher"}`, "aria-hidden": "true"}, element("span", {}));
        bar.firstChild.style.width = `${100 * shares[label]}%`;
        if (state.erased.size && before[judge]) bar.append(Object.assign(element("i", {}), {style: `left: ${100 * before[judge][label]}%`}));
        return element("td", {class: best[judge] === label ? "is-best" : null}, bar, element("span", {class: "look-number"}, percent(shares[label])));
      }))));
      const erased = state.erased.size ? `With ${state.erased.size} of ${PATCHES} patches erased, ` : "";
      tell(told, `${erased}${STUDENT} says ${said(answer.logits)}; its teacher, ${TEACHER}, ${answer.teacher ? `says ${said(answer.teacher)}` : "has not answered yet"}.`);
    },
  };
}

/** The logit lens: what each head would say after every layer, from left to right. */
function lensPanel(act) {
  const heading = element("tr", {}, element("th", {scope: "col"}, "after layer"));
  const buttons = Array.from({length: LAYERS}, (_, i) => element("button", {type: "button", click: () => act({layer: i + 1})}, i + 1));
  heading.append(element("th", {scope: "col"}, "input"), ...buttons.map(button => element("th", {scope: "col"}, button)));
  const rows = HEAD_NAMES.map(name => element("tr", {}, element("th", {scope: "row"}, `${name} token`)));
  const strip = element("div", {class: "look-scroll", tabindex: 0, role: "region", "aria-label": "Logit lens, from the first layer to the last"},
    element("table", {class: "look-lens plain"}, element("thead", {}, heading), element("tbody", {}, ...rows)));
  return {
    node: panel("lens", "What it would answer after each layer", strip),
    show({answer, state}) {
      rows.forEach((row, head) => {
        const cells = answer.lens.map((heads, depth) => {
          const shares = probabilities(heads[head]), best = largest(shares);
          const cell = element("td", {class: depth === state.layer ? "is-layer" : null}, CLASSES[best], element("br"), element("small", {}, percent(shares[best])));
          cell.style.setProperty("--share", `${Math.round(40 * shares[best])}%`);
          return cell;
        });
        row.replaceChildren(row.firstChild, ...cells);
      });
      buttons.forEach((button, i) => button.setAttribute("aria-pressed", i + 1 === state.layer));
    },
  };
}

// One weight ---------------------------------------------------------------------------------

/** The arithmetic of one weight of one head: query, key, products, scale, softmax. */
function weightPanel() {
  const title = element("p", {class: "look-pair"}), strips = ["q", "k", "q \u00d7 k"].map(name => [name, element("canvas", {"aria-hidden": "true"})]);
  const steps = element("ol", {class: "look-steps"});
  const node = panel("weight", "One weight, worked out", title,
    element("div", {class: "look-strips"}, ...strips.flatMap(([name, canvas]) => [element("span", {}, name), canvas])),
    element("p", {class: "look-note"}, "Orange is positive, blue negative; each strip has its own scale."), steps);
  return {
    node,
    show({answer, state}) {
      const {layer, token, key, head} = state;
      tell(title, `Layer ${layer}, head ${head}: ${tokenName(token)} asks, ${tokenName(key)} is asked.`);
      if (!answer.q) {
        steps.replaceChildren(element("li", {}, "The numbers come with the networks."));
        return;
      }
      const width = data.vit.dim, d = width / HEADS, from = (head - 1) * d;
      const part = (all, of) => all[layer - 1].subarray(of * width + from, of * width + from + d);
      const q = part(answer.q, token), scores = Array.from({length: TOKENS}, (_, other) => dot(q, part(answer.k, other)));
      const k = part(answer.k, key), scaled = scores.map(score => score / Math.sqrt(d));
      const top = Math.max(...scaled), power = Math.exp(scaled[key] - top);
      const sum = scaled.reduce((total, score) => total + Math.exp(score - top), 0);
      [q, k, q.map((value, i) => value * k[i])].forEach((values, i) => paintStrip(strips[i][1], values));
      steps.replaceChildren(...[
        `q \u00b7 k, the sum of ${d} products: ${short(scores[key])}`,
        `divided by \u221a${d} = ${short(Math.sqrt(d))}: ${short(scaled[key])}`,
        `less the row's largest such score, ${short(top)}: ${short(scaled[key] - top)}`,
        `e to that power, ${short(power)}, divided by the sum over all ${TOKENS} tokens, ${short(sum)}: weight ${(power / sum).toFixed(4)}, ${short(power / sum * TOKENS)} times an equal share`,
      ].map(words => element("li", {}, words)));
    },
  };
}

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);

/** Signed numbers as cells of a row: orange above zero, blue below, grey at zero. */
function paintStrip(canvas, values) {
  Object.assign(canvas, {width: values.length, height: 1});
  const top = values.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-12), context = canvas.getContext("2d");
  values.forEach((value, i) => {
    const a = Math.abs(value) / top, [r, g, b] = (value > 0 ? TINT : [40, 120, 220]).map(full => 235 + a * (full - 235));
    context.fillStyle = `rgb(${r}, ${g}, ${b})`;
    context.fillRect(i, 0, 1, 1);
  });
}
