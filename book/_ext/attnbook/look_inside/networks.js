"use strict";
// The networks behind the page: their weights come as scripts, and they run in a worker.

// Scripts beside the page hand over the worker's source, and each network's header and weights.
const given = {worker: null, student: {header: null, parts: []}, teacher: {header: null, parts: []}};
window.takeWorker = source => { given.worker = source; };
window.takeHeader = (role, header) => { given[role].header = header; };
window.takeWeights = (role, number, text) => { given[role].parts[number] = bytesOf(text); };
const MEGABYTES = Object.values(data.networks).reduce((sum, {bytes}) => sum + bytes, 0) * 4 / 3e6;

let worker = null, asked = 0;
const waiting = new Map();

function send(message, transfer = []) {
  return new Promise((resolve, reject) => {
    waiting.set(++asked, {resolve, reject});
    worker.postMessage({...message, id: asked}, transfer);
  });
}

/** A worker from text: a page on a disk may start none from a file. */
async function startWorker() {
  await loadScript(`${data.place}worker.js`);
  worker = new Worker(URL.createObjectURL(new Blob([given.worker], {type: "text/javascript"})));
  worker.onmessage = ({data: {id, fault, ...rest}}) => {
    const {resolve, reject} = waiting.get(id);
    waiting.delete(id);
    if (fault) reject(new Error(fault));
    else resolve(rest);
  };
}

function loadScript(address) {
  return new Promise((resolve, reject) => {
    document.head.append(element("script", {src: address, load: resolve, error: () => reject(new Error(`${address} is missing`))}));
  });
}

/** Load one network into the worker; `progress` hears how many bytes have come. */
async function loadNetwork(role, progress) {
  const {parts} = given[role], bytes = new Uint8Array(data.networks[role].bytes);
  for (let number = 0; number * data.chunk < bytes.length; number++) {
    await loadScript(`${data.place}${role}-${number}.js`);
    progress(parts[number].length);
  }
  let at = 0;
  for (const part of parts) { bytes.set(part, at); at += part.length; }
  parts.length = 0;
  await send({name: role, header: given[role].header, bytes: bytes.buffer}, [bytes.buffer]);
}

/** A network's answer to pixels; `quick` without attention. */
const ask = async (role, pixels, quick = false) => (await send({name: role, pixels, quick})).result;

/** Only the newest wish is granted: what came while `work` was busy is forgotten but for the last. */
function latest(work) {
  let busy = false, next = null;
  return async function wish(...wanted) {
    if (busy) { next = wanted; return; }
    busy = true;
    try {
      await work(...wanted);
    } finally {
      busy = false;
      if (next) { const [...again] = next; next = null; wish(...again); }
    }
  };
}

/** The answer that was recorded when the book was made: shown until the networks are loaded. */
function recordedAnswer() {
  const kept = data.recording;
  if (!kept) return null;
  const floats = {logits: floatsOf(kept.logits), teacher: floatsOf(kept.teacher)};
  const shown = {...floats, erased: new Set(), pixels: Float32Array.from(bytesOf(kept.pixels), value => value / 255)};
  const layersOf = (all, size) => Array.from({length: LAYERS}, (_, layer) => all.subarray(layer * size, (layer + 1) * size));
  if (kept.rows) return {...shown, rows: {mean: layersOf(floatsOf(kept.rows.mean), TOKENS), rollout: layersOf(floatsOf(kept.rows.rollout), TOKENS)}};
  const peak = floatsOf(kept.peak), attention = Float32Array.from(bytesOf(kept.attention), (share, at) => share / 255 * peak[Math.floor(at / TOKENS)]);
  const lens = floatsOf(kept.lens), K = CLASSES.length;
  const strip = Array.from({length: LAYERS + 1}, (_, depth) =>
    HEAD_NAMES.map((_, head) => lens.slice((depth * PREFIX + head) * K, (depth * PREFIX + head + 1) * K)));
  return {...shown, attention: layersOf(attention, HEADS * TOKENS * TOKENS), lens: strip, answers: strip.at(-1)};
}
