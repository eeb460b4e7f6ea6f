"use strict";
// The networks behind the page: their weights come as scripts, and they run in a worker.

const parts = {student: [], teacher: []}; // of weights, as their scripts hand them over
window.takeWeights = (role, number, text) => { parts[role][number] = bytesOf(text); };
const MEGABYTES = Object.values(data.networks).reduce((sum, {bytes}) => sum + bytes, 0) * 4 / 3e6;

let worker = null, asked = 0;
const waiting = new Map();

function send(message, transfer = []) {
  return new Promise((resolve, reject) => {
    waiting.set(++asked, {resolve, reject});
    worker.postMessage({...message, id: asked}, transfer);
  });
}

function startWorker() {
  const source = figure.querySelector("script[type='text/plain']").textContent;
  worker = new Worker(URL.createObjectURL(new Blob([source], {type: "text/javascript"})));
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
  for (let number = 0; number < data.chunks[role]; number++) {
    await loadScript(`${data.place}${role}-${number}.js`);
    progress(parts[role][number].length);
  }
  const bytes = new Uint8Array(data.networks[role].bytes);
  let at = 0;
  for (const part of parts[role]) { bytes.set(part, at); at += part.length; }
  parts[role] = [];
  await send({name: role, header: data.networks[role].header, bytes: bytes.buffer}, [bytes.buffer]);
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
  const shares = bytesOf(kept.attention), peak = floatsOf(kept.peak), size = HEADS * TOKENS * TOKENS;
  const attention = Array.from({length: LAYERS}, (_, layer) => Float32Array.from({length: size}, (_, i) => {
    const at = layer * size + i;
    return shares[at] / 255 * peak[Math.floor(at / TOKENS)];
  }));
  const lens = floatsOf(kept.lens), K = CLASSES.length;
  const strip = Array.from({length: LAYERS + 1}, (_, depth) =>
    HEAD_NAMES.map((_, head) => lens.slice((depth * PREFIX + head) * K, (depth * PREFIX + head + 1) * K)));
  return {attention, lens: strip, answers: strip.at(-1), logits: floatsOf(kept.logits), teacher: floatsOf(kept.teacher),
    pixels: Float32Array.from(bytesOf(kept.pixels), value => value / 255)};
}
