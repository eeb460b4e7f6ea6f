"use strict";
// The linked views of one answer. Each panel has `node` and `show(view)`, where a view holds the
// answer, the state of the page, and the answer before anything was erased.

const panel = (name, title, ...content) =>
  element("section", {class: "look-panel", "data-panel": name, "aria-labelledby": `look-${name}`},
    element("h2", {id: `look-${name}`, class: "look-title"}, title), ...content);

// Attention ----------------------------------------------------------------------------------

/** The picture under the chosen map; its patches can be asked, paired and erased. */
function picturePanel(act) {
  const canvas = mapCanvas(288), stroke = erasingStroke(act);
  const modes = choice("A click", [["ask", "asks"], ["pair", "pairs"], ["erase", "erases"]], mode => act({mode}));
  const tokens = choice("Who asks", [...HEAD_NAMES.map((name, token) => [token, name]), [PREFIX, "patch"]],
    token => act({token: Number(token) === PREFIX ? PREFIX + Math.floor(PATCHES / 2) : Number(token)}));
  let now = null;
  const grid = patchGrid(canvas, (patch, first) => {
    if (now.mode === "erase") stroke(patch, first, now.erased);
    else act(now.mode === "ask" ? {token: PREFIX + patch} : {pair: PREFIX + patch});
  });
  return {
    node: panel("picture", "The picture in patches", modes.set, grid.node, tokens.set),
    show({answer, state}) {
      now = state;
      const row = mapRow(answer, state), patches = row.subarray(PREFIX), most = largest(patches);
      paint(canvas, answer.pixels, state.plain ? null : patches, scaleOf(row, state.stretched), state.erased);
      grid.mark(patch => ({
        "is-asked": [PREFIX + patch === state.token, "attends"],
        "is-most": [!state.plain && patch === most, "attended to most"],
        "is-pair": [!state.plain && PREFIX + patch === state.key, "in the worked example"],
        "is-erased": [state.erased.has(patch), "erased"],
      }));
      modes.check(state.mode);
      grid.node.classList.toggle("is-erasing", state.mode === "erase");
      tokens.check(Math.min(state.token, PREFIX));
    },
  };
}

/** What the chosen map says, as a sentence under the picture and its maps. */
function mapSaid() {
  const node = element("p", {role: "status", class: "look-said", "data-panel": "said"});
  return {node, show: ({answer, state}) => tell(node, mapSentence(mapRow(answer, state), state))};
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
  const bars = barsTable(HEAD_NAMES.map(name => `${name} token`), 10), told = element("p", {role: "status", class: "look-told"});
  return {
    node: panel("bars", "What they answer", told, bars.node),
    show({answer, whole}) {
      bars.show([...answer.answers, answer.teacher], answer.erased.size ? [...whole.answers, whole.teacher] : null);
      tell(told, answerSentence(answer));
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
      tell(title, `Layer ${layer}, head ${head}: ${tokenName(token)} asks ${tokenName(key)}.`);
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
        `divided by \u221a${d} = ${short(Math.sqrt(d))}: ${short(scaled[key])}; less the row's largest, ${short(top)}: ${short(scaled[key] - top)}`,
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
