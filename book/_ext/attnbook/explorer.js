// The attention explorer: arrays of a run record, a picture to step over, and nothing from outside.
(() => {
  "use strict";
  const figure = document.currentScript.closest(".attention-explorer");
  const data = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
  const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const floats = text => new Float32Array(bytes(text).buffer);
  const [IMAGES, LAYERS, HEADS, TOKENS] = data.shape, [ROWS, COLUMNS] = data.grid;
  const PATCHES = ROWS * COLUMNS, PREFIX = TOKENS - PATCHES;
  const packed = bytes(data.attention), peak = floats(data.peak);
  const rollout = bytes(data.rollout), rolloutPeak = floats(data.rollout_peak);
  const pixels = data.pixels ? bytes(data.pixels) : null, cam = data.cam ? bytes(data.cam) : null;
  const TINT = [255, 140, 0], FADE = 0.85;
  const share = data.bits === 8
    ? place => packed[place] / 255
    : place => ((packed[place >> 1] >> (place & 1 ? 0 : 4)) & 15) / 15;
  const state = {image: 0, pinned: 0, layer: LAYERS - 1, head: "mean", own: true};

  // Weights ---------------------------------------------------------------------------------

  /** Attention of token `asked` to all tokens; `head` is a number, "mean" or "rollout". */
  function weights(asked, layer, head) {
    const row = new Float32Array(TOKENS);
    if (head === "rollout") {
      const at = state.image * TOKENS + asked;
      for (let k = 0; k < TOKENS; k++) row[k] = rollout[at * TOKENS + k] / 255 * rolloutPeak[at];
      return row;
    }
    const heads = head === "mean" ? [...Array(HEADS).keys()] : [head];
    for (const h of heads) {
      const at = ((state.image * LAYERS + layer) * HEADS + h) * TOKENS + asked;
      for (let k = 0; k < TOKENS; k++) row[k] += share(at * TOKENS + k) * peak[at] / heads.length;
    }
    return row;
  }

  const prefixNames = ["the class token", "the distillation token"];
  const tokenName = token => token < PREFIX
    ? prefixNames[token] ?? `register ${token - 1}`
    : `row ${Math.floor((token - PREFIX) / COLUMNS) + 1}, column ${(token - PREFIX) % COLUMNS + 1}`;

  // Drawing ---------------------------------------------------------------------------------

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  /** A canvas on which each cell of a grid is a whole number of pixels. */
  function canvas(rows, columns, least = 64) {
    const [height, width] = [rows, columns].map(n => n * Math.ceil(Math.max(least, data.images?.[0] ?? 0) / n));
    return element("canvas", {width, height, "aria-hidden": "true"});
  }

  /** The image, grey under a map of shares of `top` in one colour; in its own colours without one. */
  function draw(on, image, map, rows, columns, top) {
    const {width, height} = on, context = on.getContext("2d"), shown = context.createImageData(width, height);
    const [H, W] = data.images || [1, 1], out = shown.data;
    for (let y = 0, o = 0; y < height; y++) {
      const line = (image * H + Math.floor(y * H / height)) * W, row = Math.floor(y * rows / height) * columns;
      for (let x = 0; x < width; x++, o += 4) {
        const p = 3 * (line + Math.floor(x * W / width));
        let [r, g, b] = pixels ? [pixels[p], pixels[p + 1], pixels[p + 2]] : [96, 96, 96];
        if (map) {
          const a = FADE * Math.min(1, map[row + Math.floor(x * columns / width)] / top);
          const grey = (1 - a) * (pixels ? 0.75 : 1) * (0.299 * r + 0.587 * g + 0.114 * b);
          [r, g, b] = [grey + a * TINT[0], grey + a * TINT[1], grey + a * TINT[2]];
        }
        out[o] = r; out[o + 1] = g; out[o + 2] = b; out[o + 3] = 255;
      }
    }
    context.putImageData(shown, 0, 0);
  }

  /** Every layer and head of token `asked` in one picture, a gap of one pixel between the maps. */
  function drawAll(asked) {
    const context = all.getContext("2d"), shown = context.createImageData(all.width, all.height);
    for (let layer = 0; layer < LAYERS; layer++) {
      for (let h = 0; h <= HEADS; h++) {
        const row = weights(asked, layer, h ? h - 1 : "mean"), top = scale(row);
        for (let k = 0; k < PATCHES; k++) {
          const x = layer * (COLUMNS + 1) + k % COLUMNS, y = h * (ROWS + 1) + Math.floor(k / COLUMNS);
          const a = FADE * Math.min(1, row[PREFIX + k] / top), o = 4 * (y * all.width + x);
          for (let c = 0; c < 3; c++) shown.data[o + c] = (1 - a) * 60 + a * TINT[c];
          shown.data[o + 3] = 255;
        }
      }
    }
    context.putImageData(shown, 0, 0);
  }

  /** What full colour stands for: the map's own maximum, or four times an equal share. */
  const scale = row => (state.own ? Math.max(...row.subarray(PREFIX), 1e-12) : 4 / TOKENS);

  // Answering -------------------------------------------------------------------------------

  /** Said once: what stands there already is not said again. */
  const tell = (on, words) => { if (on.textContent !== words) on.textContent = words; };

  let marked = [];
  function answer(asked) {
    const row = weights(asked, state.layer, state.head), patches = row.subarray(PREFIX);
    draw(view, state.image, patches, ROWS, COLUMNS, scale(row));
    drawAll(asked);
    let most = 0, before = 0;
    for (let k = 0; k < PATCHES; k++) if (patches[k] > patches[most]) most = k;
    for (let k = 0; k < PREFIX; k++) before += row[k];
    marked.forEach(cell => cell.classList.remove("asked", "most"));
    marked = [cells[most], ...(asked < PREFIX ? [] : [cells[asked - PREFIX]])];
    marked[0].classList.add("most");
    marked[1]?.classList.add("asked");
    const where = state.head === "rollout" ? "Rollout through all layers"
      : `Layer ${state.layer + 1}, ${state.head === "mean" ? "mean of heads" : `head ${state.head + 1}`}`;
    const who = tokenName(asked);
    tell(said, `${where}: ${asked < PREFIX ? who : `the patch in ${who}`} attends most to the patch in `
      + `${tokenName(PREFIX + most)}, with ${patches[most].toFixed(3)} of its attention, `
      + `${(patches[most] * TOKENS).toFixed(1)} times an equal share.`
      + (PREFIX ? ` The ${PREFIX === 1 ? "class token takes" : "tokens before the patches take"} ${before.toFixed(3)}.` : ""));
    figure.dataset.asked = asked;
    figure.dataset.most = most;
  }

  function refresh() {
    const rolled = state.head === "rollout";
    layer.disabled = rolled;
    layerShown.textContent = rolled ? "all" : state.layer + 1;
    Object.assign(box.style, {
      display: rolled ? "none" : "", left: `${100 * state.layer / LAYERS}%`, width: `${100 / LAYERS}%`,
      top: `${100 * (state.head === "mean" ? 0 : state.head + 1) / (HEADS + 1)}%`, height: `${100 / (HEADS + 1)}%`,
    });
    if (cam) {
      const size = data.cam_grid[0] * data.cam_grid[1], map = cam.subarray(state.image * size, (state.image + 1) * size);
      draw(camView, state.image, map, ...data.cam_grid, 255);
    }
    tell(named, data.names[state.image]);
    answer(state.pinned);
  }

  function pin(token) {
    state.pinned = token;
    for (const radio of asking) radio.checked = Number(radio.value) === Math.min(token, PREFIX);
    cells.forEach((cell, k) => cell.setAttribute("aria-selected", k === token - PREFIX));
    const stop = Math.max(0, token - PREFIX);
    cells.forEach((cell, k) => { cell.tabIndex = k === stop ? 0 : -1; });
    answer(token);
  }

  // Controls --------------------------------------------------------------------------------

  let groups = 0;
  function choice(title, options, chosen, change, pictures) {
    const name = `explorer-${figure.id}-${groups++}`, radios = [];
    const set = element("fieldset", {class: pictures ? "explorer-images" : "explorer-choice"}, element("legend", {}, title));
    options.forEach(([value, label, picture]) => {
      const radio = element("input", {type: "radio", name, value});
      radio.checked = value === chosen;
      radio.addEventListener("change", () => change(value));
      radios.push(radio);
      if (picture) radio.setAttribute("aria-label", label);
      set.append(element("label", picture ? {title: label} : {}, radio, picture ?? label));
    });
    return [set, radios];
  }

  const thumbs = data.names.map((name, image) => {
    const thumb = canvas(1, 1);
    draw(thumb, image);
    return [image, name, thumb];
  });
  const [imageChoice] = choice("Image", thumbs, 0, value => { state.image = value; refresh(); }, true);
  const tokens = prefixNames.slice(0, PREFIX).map((name, k) => [k, name]);
  const [tokenChoice, asking] = choice("Who attends", [...tokens, [PREFIX, "a patch: step over the picture"]], 0,
    value => pin(value));
  const heads = [["mean", "mean"], ...[...Array(HEADS).keys()].map(h => [h, `${h + 1}`]), ["rollout", "rollout"]];
  const [headChoice, headRadios] = choice("Head", heads, "mean", value => { state.head = value; refresh(); });
  const layer = element("input", {type: "range", min: 1, max: LAYERS, value: LAYERS, "aria-label": "Layer"});
  const layerShown = element("output", {});
  layer.addEventListener("input", () => { state.layer = layer.value - 1; refresh(); });
  const own = element("input", {type: "checkbox"});
  own.checked = true;
  own.addEventListener("change", () => { state.own = own.checked; refresh(); });

  const view = canvas(ROWS, COLUMNS), named = element("p", {"aria-live": "polite", class: "explorer-named"});
  const grid = element("div", {role: "grid", class: "explorer-grid", "aria-label": "Patches of the image: who attends"});
  const cells = [];
  grid.style.gridTemplateColumns = `repeat(${COLUMNS}, 1fr)`;
  for (let r = 0; r < ROWS; r++) {
    const row = grid.appendChild(element("div", {role: "row"}));
    for (let c = 0; c < COLUMNS; c++) {
      const label = `row ${r + 1}, column ${c + 1}`;
      cells.push(row.appendChild(element("div", {role: "gridcell", tabindex: -1, "aria-label": label, "aria-selected": false})));
    }
  }
  const STEPS = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]};
  grid.addEventListener("keydown", event => {
    const at = cells.indexOf(event.target), [r, c] = [Math.floor(at / COLUMNS), at % COLUMNS];
    let to = null;
    if (STEPS[event.key]) {
      const [down, right] = STEPS[event.key];
      to = Math.min(ROWS - 1, Math.max(0, r + down)) * COLUMNS + Math.min(COLUMNS - 1, Math.max(0, c + right));
    } else if (event.key === "Home") to = event.ctrlKey ? 0 : r * COLUMNS;
    else if (event.key === "End") to = event.ctrlKey ? PATCHES - 1 : (r + 1) * COLUMNS - 1;
    else if (event.key === "Enter" || event.key === " ") to = at;
    if (to === null) return;
    event.preventDefault();
    pin(PREFIX + to);
    cells[to].focus();
  });
  const under = event => {
    const {left, top, width, height} = grid.getBoundingClientRect();
    const [r, c] = [Math.floor((event.clientY - top) / height * ROWS), Math.floor((event.clientX - left) / width * COLUMNS)];
    return r >= 0 && r < ROWS && c >= 0 && c < COLUMNS ? PREFIX + r * COLUMNS + c : null;
  };
  let last = null;
  grid.addEventListener("pointermove", event => { // a finger pins as it moves, a mouse only looks
    const token = under(event);
    if (token === null || token === last) return;
    last = token;
    event.pointerType === "touch" ? pin(token) : answer(token);
  });
  grid.addEventListener("pointerleave", () => { last = null; answer(state.pinned); });
  grid.addEventListener("click", event => { const token = under(event); if (token !== null) pin(token); });

  const all = element("canvas", {width: LAYERS * (COLUMNS + 1), height: (HEADS + 1) * (ROWS + 1), "aria-hidden": "true"});
  const box = element("div", {class: "explorer-box"}), overview = element("div", {class: "explorer-all"}, all, box);
  overview.addEventListener("click", event => {
    const {left, top, width, height} = overview.getBoundingClientRect();
    state.layer = Math.min(LAYERS - 1, Math.floor((event.clientX - left) / width * LAYERS));
    const h = Math.min(HEADS, Math.floor((event.clientY - top) / height * (HEADS + 1)));
    state.head = h ? h - 1 : "mean";
    layer.value = state.layer + 1;
    headRadios[h].checked = true;
    refresh();
  });
  const camView = cam ? canvas(...data.cam_grid) : null;
  const said = element("p", {role: "status", class: "explorer-said"});
  const panel = (title, ...content) => element("div", {class: "explorer-panel"}, element("p", {}, title), ...content);
  const live = element("div", {class: "explorer-live", role: "group", "aria-label": "Attention explorer"},
    imageChoice, named,
    element("div", {class: "explorer-settings"}, tokenChoice, headChoice,
      element("label", {class: "explorer-layer"}, "Layer ", layer, " ", layerShown),
      element("label", {}, own, " stretch each map to its own maximum")),
    element("div", {class: "explorer-views"},
      panel(`${data.transformer.split(",")[0]}: attention`, element("div", {class: "explorer-picture"}, view, grid), said),
      ...(cam ? [panel(`${data.network}: Grad-CAM`, camView)] : [])),
    panel(`All layers, from left to right; mean of heads, then head 1 to ${HEADS}, from top to bottom`, overview));
  figure.querySelector(".explorer-static").before(live);
  figure.classList.add("is-live");
  refresh();
  pin(0);
  // What is shown is drawn once more when the page is idle: the reader's first answer is not a cold one.
  const idle = window.requestIdleCallback ?? setTimeout;
  addEventListener("load", () => idle(() => answer(Number(figure.dataset.asked))));
})();
