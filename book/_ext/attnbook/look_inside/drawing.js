"use strict";
// What all parts of the page share: its data, elements, words for tokens, and maps on canvases.

const figure = document.currentScript.closest(".look-inside");
const data = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
const bytesOf = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
const floatsOf = text => new Float32Array(bytesOf(text).buffer);
const CLASSES = data.classes, [HEIGHT, WIDTH] = data.size, [ROWS, COLUMNS] = data.vit.grid;
const {depth: LAYERS, heads: HEADS, patch: PATCH} = data.vit;
const PREFIX = data.vit.prefix.length, PATCHES = ROWS * COLUMNS, TOKENS = PREFIX + PATCHES;
const STUDENT = data.networks.student.title, TEACHER = data.networks.teacher.title;
const HEAD_NAMES = ["class", "distillation"].slice(0, PREFIX);
const TINT = [255, 140, 0], FADE = 0.85;

/** An element with attributes and children; a function as an attribute listens to that event. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** The same for SVG. */
function drawn(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Say something once: what stands there already is not said again. */
const tell = (on, words) => { if (on.textContent !== words) on.textContent = words; };

const percent = share => (share > 0 && share < 0.005 ? "<1%" : `${Math.round(100 * share)}%`);

/** A short number without exponents: three digits behind the point at most. */
const short = value => value.toFixed(Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 1 ? 2 : 3).replace("-", "\u2212");

function probabilities(logits) {
  const top = Math.max(...logits), powers = Array.from(logits, value => Math.exp(value - top));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map(power => power / sum);
}

/** Place of the largest number. */
function largest(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/** A token in words, as the subject or the object of a sentence. */
function tokenName(token) {
  if (token < PREFIX) return `the ${HEAD_NAMES[token]} token`;
  const patch = token - PREFIX;
  return `the patch in row ${Math.floor(patch / COLUMNS) + 1}, column ${patch % COLUMNS + 1}`;
}

/** A canvas on which each cell of the patches' grid is a whole number of pixels. */
function mapCanvas(least) {
  const [height, width] = [ROWS, COLUMNS].map(n => n * Math.ceil(least / n));
  return element("canvas", {width, height, "aria-hidden": "true"});
}

/** Pixels (H, W, 3) in [0, 1], grey under a map of shares of `top`; in their colours without one. */
function paint(canvas, pixels, map, top, erased) {
  const {width, height} = canvas, context = canvas.getContext("2d"), shown = context.createImageData(width, height);
  for (let y = 0, o = 0; y < height; y++) {
    const line = Math.floor(y * HEIGHT / height) * WIDTH, row = Math.floor(y * ROWS / height) * COLUMNS;
    for (let x = 0; x < width; x++, o += 4) {
      const p = 3 * (line + Math.floor(x * WIDTH / width)), patch = row + Math.floor(x * COLUMNS / width);
      let [r, g, b] = [255 * pixels[p], 255 * pixels[p + 1], 255 * pixels[p + 2]];
      if (map) {
        const a = FADE * Math.min(1, map[patch] / top), grey = (1 - a) * 0.75 * (0.299 * r + 0.587 * g + 0.114 * b);
        [r, g, b] = [grey + a * TINT[0], grey + a * TINT[1], grey + a * TINT[2]];
      }
      if (erased?.has(patch) && (x + y) % 8 === 0) [r, g, b] = [(r + 128) % 256, (g + 128) % 256, (b + 128) % 256]; // hatched
      shown.data[o] = r; shown.data[o + 1] = g; shown.data[o + 2] = b; shown.data[o + 3] = 255;
    }
  }
  context.putImageData(shown, 0, 0);
}

let groups = 0;
/** Radio buttons in a named group; options are [value, label, picture?]. */
function choice(title, options, change, attributes = {}) {
  const name = `look-${groups++}`, radios = new Map();
  const set = element("fieldset", attributes, element("legend", {}, title));
  for (const [value, label, picture] of options) {
    const radio = element("input", {type: "radio", name, value, change: () => change(value)});
    radios.set(String(value), radio);
    set.append(element("label", {title: picture ? label : null}, radio, ...(picture?.alt ? [picture] : [picture ?? "", element("span", {}, label)])));
  }
  return {set, check: value => radios.forEach((radio, key) => { radio.checked = key === String(value); }), radios};
}

const pictureNamed = name => data.pictures.find(each => each.name === name) ?? data.pictures[0];
const creditOf = ({title, credit}) => (credit ? `${title}; ${credit}` : title);

/** The offered pictures to choose from. */
const pictureChoice = change => choice("Picture", data.pictures.map(({name, title, file}) => [name, title, element("img", {src: file, alt: `The picture ${title}`})]), change, {class: "look-pictures"});

/** A view of the page "Look inside" as the end of its address. */
function addressOf({image, token, layer, map, key, head, step, erased}) {
  const name = token < PREFIX ? HEAD_NAMES[token] : token - PREFIX + 1;
  const parts = {image, layer, token: name, map, ...(key ? {pair: key - PREFIX + 1, head} : {}), ...(step ? {step} : {}), ...(erased.size ? {erased: [...erased].map(patch => patch + 1).join(".")} : {})};
  return `#${Object.entries(parts).map(([key, value]) => `${key}=${value}`).join("&")}`;
}
