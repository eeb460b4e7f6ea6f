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

/** Load one network into the worker; `progress(role, bytes)` hears how many have come. */
async function loadNetwork(role, progress) {
  const {parts} = given[role], bytes = new Uint8Array(data.networks[role].bytes);
  let come = 0;
  for (let number = 0; come < bytes.length; number++) {
    await loadScript(`${data.place}${role}-${number}.js`);
    bytes.set(parts[number], come);
    come += parts[number].length;
    progress(role, come);
  }
  parts.length = 0;
  await send({name: role, header: given[role].header, bytes: bytes.buffer}, [bytes.buffer]);
}

/** A network's answer to pixels; `quick` without attention. */
const ask = async (role, pixels, quick = false) => (await send({name: role, pixels, quick})).result;

/** Wishes while `work` is busy become one more turn of it; each gets a promise of the last turn's end. */
function latest(work) {
  let busy = null, again = false;
  return function wish() {
    again = true;
    busy ??= (async () => {
      try {
        while (again) { again = false; await work(); }
      } finally {
        busy = null;
      }
    })();
    return busy;
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
