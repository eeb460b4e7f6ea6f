// The networks of the book in JavaScript: one function a layer, named as in attnlib.models.
// Every layer takes and returns a matrix whose rows are tokens or pixels and whose columns are
// features (`Heap.take`); weights come as 8-bit integers with a scale a row and are unpacked once.
"use strict";

/** A network that is ready to answer: `network.forward(pixels)`, floats in [0, 1], (H, W, 3). */
function createModel(header, bytes, plain = false) {
  const heap = new Heap(4 * header.room, plain);
  const weights = unpack(header, bytes, heap);
  const mark = heap.top;
  const forward = header.vit ? vit : convolutional;
  return {
    header,
    forward(pixels, options = {}) {
      heap.top = mark;
      const images = normalize(pixels, header, heap);
      return forward(images, {heap, weights, header, ...options});
    },
  };
}

/** Weights by name: a linear layer's packed for `Heap.multiply`, all others as plain numbers. */
function unpack(header, bytes, heap) {
  const weights = {};
  for (const [name, entry] of Object.entries(header.tensors)) {
    const numbers = toFloats(entry, bytes), inputs = numbers.length / entry.shape[0];
    const isFactor = name.endsWith(".weight") && entry.shape.length > 1 && !header.depthwise.includes(name);
    weights[name] = isFactor ? heap.pack(inputs, entry.shape[0], (k, n) => numbers[n * inputs + k]) : numbers;
  }
  return weights;
}

/** A tensor's numbers: float32 as they are, float16, or 8-bit levels with a scale a row. */
function toFloats({type, shape, at, scales}, bytes) {
  const count = shape.reduce((a, b) => a * b, 1), row = count / shape[0];
  if (type === "float32") return new Float32Array(bytes, at, count);
  const numbers = new Float32Array(count);
  if (type === "float16") {
    const halves = new Uint16Array(bytes, at, count);
    for (let i = 0; i < count; i++) numbers[i] = halfToFloat(halves[i]);
  } else {
    const levels = new Int8Array(bytes, at, count), scale = new Float32Array(bytes, scales, shape[0]);
    for (let i = 0; i < count; i++) numbers[i] = levels[i] * scale[Math.floor(i / row)];
  }
  return numbers;
}

/** The number that 16 bits stand for: a sign, five bits of exponent, ten of fraction. */
function halfToFloat(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

// Layers of both kinds of network -----------------------------------------------------------

/** Normalize: subtract each channel's mean and divide by its standard deviation. */
function normalize(pixels, {img_size: [height, width], mean, std}, heap) {
  const x = heap.take(height * width, 3);
  for (let i = 0; i < x.data.length; i++) x.data[i] = (pixels[i] - mean[i % 3]) / std[i % 3];
  return {...x, height, width};
}

/** Linear: x W + b. */
function linear(x, name, {heap, weights}) {
  const out = heap.multiply(x, weights[`${name}.weight`]), bias = weights[`${name}.bias`];
  const {columns, data} = out;
  for (let row = 0; row < data.length; row += columns) {
    for (let i = 0; i < bias.length; i++) data[row + i] += bias[i];
  }
  return out;
}

/** A layer's outputs in each row, without the columns that fill up its last panel. */
const outputs = (x, count) => Array.from({length: x.rows}, (_, row) => x.data.slice(row * x.columns, row * x.columns + count));

/** Softmax of each row's first `count` numbers, in place. */
function softmax(data, stride, rows, count) {
  for (let at = 0; at < rows * stride; at += stride) {
    let top = -Infinity, sum = 0;
    for (let i = at; i < at + count; i++) if (data[i] > top) top = data[i];
    for (let i = at; i < at + count; i++) sum += data[i] = Math.exp(data[i] - top);
    for (let i = at; i < at + count; i++) data[i] /= sum;
  }
  return data;
}

// The transformer ---------------------------------------------------------------------------

/**
 * ViT and DeiT: patches to tokens, the blocks, and a head for each token before the patches.
 *
 * Returns the heads' logits; and for the views, unless `quick`, each layer's attention (heads,
 * tokens, tokens), its queries and keys, and the logit lens: what each head would answer after
 * every layer, the embedding counted as the first.
 */
function vit(images, context) {
  const {heap, header, quick} = context, {depth, heads} = header.vit;
  let x = embed(images, context);
  const seen = {attention: [], q: [], k: [], lens: quick ? [] : [forwardHead(x, context)]};
  for (let layer = 0; layer < depth; layer++) {
    const mark = heap.top;
    x = block(x, `blocks.${layer}`, context, seen);
    heap.top = mark; // a block adds to x in place and leaves nothing else
    if (!quick) seen.lens.push(forwardHead(x, context));
  }
  const answers = forwardHead(x, context);
  return {...seen, answers, logits: average(answers, header.vit.average), tokens: x.rows, heads};
}

/** PatchEmbed, the prefix tokens before the patches, and the positions of all. */
function embed(images, context) {
  const {weights, heap, header} = context, {patch, dim, prefix} = header.vit;
  const patches = linear(patchesOf(images, patch, heap), "patch_embed.proj", context);
  const x = heap.take(prefix.length + patches.rows, dim), positions = weights.pos_embed;
  prefix.forEach((name, row) => x.data.set(weights[name], row * dim));
  x.data.set(patches.data, prefix.length * dim);
  for (let i = 0; i < x.data.length; i++) x.data[i] += positions[i];
  return x;
}

/** Patches as rows, from left to right and from top to bottom; a row is (patch, patch, 3). */
function patchesOf({data, height, width}, patch, heap) {
  const down = height / patch, across = width / patch, line = 3 * patch;
  const rows = heap.take(down * across, patch * line);
  for (let p = 0, o = 0; p < down * across; p++) {
    const top = Math.floor(p / across) * patch, left = (p % across) * patch;
    for (let y = 0; y < patch; y++, o += line) {
      const at = 3 * ((top + y) * width + left);
      rows.data.set(data.subarray(at, at + line), o);
    }
  }
  return rows;
}

/** Block: attention and then the perceptron, each normalised first and added to its input. */
function block(x, name, context, seen) {
  const attended = attention(layerNorm(x, `${name}.norm1`, context), `${name}.attn`, context, seen);
  add(x, attended);
  return add(x, mlp(layerNorm(x, `${name}.norm2`, context), `${name}.mlp`, context));
}

function add(x, branch) {
  for (let i = 0; i < x.data.length; i++) x.data[i] += branch.data[i];
  return x;
}

/** LayerNorm: each row to mean 0 and variance 1, then a learned scale and shift. */
function layerNorm(x, name, {heap, weights, header}) {
  const out = heap.take(x.rows, x.columns), C = x.columns;
  const scale = weights[`${name}.weight`], shift = weights[`${name}.bias`];
  for (let row = 0; row < x.data.length; row += C) {
    let mean = 0, variance = 0;
    for (let i = row; i < row + C; i++) mean += x.data[i] / C;
    for (let i = row; i < row + C; i++) variance += (x.data[i] - mean) ** 2 / C;
    const factor = 1 / Math.sqrt(variance + header.vit.eps);
    for (let i = 0; i < C; i++) out.data[row + i] = (x.data[row + i] - mean) * factor * scale[i] + shift[i];
  }
  return out;
}

/** Attention: queries, keys and values of all heads; each head mixes the values by its weights. */
function attention(x, name, context, seen) {
  const {heap, header, quick} = context, {heads, dim} = header.vit, N = x.rows, d = dim / heads;
  const qkv = linear(x, `${name}.qkv`, context), mixed = heap.take(N, dim);
  const part = (which, head) => ({at: qkv.at + which * dim + head * d, rows: N, columns: d, stride: 3 * dim});
  const kept = quick ? null : new Float32Array(heads * N * N);
  for (let head = 0; head < heads; head++) {
    const mark = heap.top;
    const weights = attentionWeights(part(0, head), part(1, head), heap);
    const values = part(2, head).at;
    const v = heap.pack(N, d, (token, i) => heap.floats[values + token * 3 * dim + i]);
    heap.multiply({...weights, columns: N, stride: weights.columns}, v, {at: mixed.at + head * d, stride: dim});
    if (kept) outputs(weights, N).forEach((row, asked) => kept.set(row, (head * N + asked) * N));
    heap.top = mark;
  }
  if (kept) {
    seen.attention.push(kept);
    for (const [which, list] of [seen.q, seen.k].entries()) list.push(columnsOf(qkv, which * dim, dim));
  }
  return linear(mixed, `${name}.proj`, context);
}

/** softmax(q k^T / sqrt(d)), equation 2.1. */
function attentionWeights(q, k, heap) {
  const keys = heap.pack(k.columns, k.rows, (i, token) => heap.floats[k.at + token * k.stride + i]);
  const scores = heap.multiply(q, keys), scale = k.columns ** -0.5;
  for (let i = 0; i < scores.data.length; i++) scores.data[i] *= scale;
  softmax(scores.data, scores.columns, scores.rows, k.rows);
  return scores;
}

/** Some columns of a matrix, row after row. */
function columnsOf(x, from, count) {
  const out = new Float32Array(x.rows * count);
  for (let row = 0; row < x.rows; row++) out.set(x.data.subarray(row * x.columns + from, row * x.columns + from + count), row * count);
  return out;
}

/** Mlp: four times as wide inside, with GELU. */
function mlp(x, name, context) {
  return linear(gelu(linear(x, `${name}.fc1`, context)), `${name}.fc2`, context);
}

/** GELU, x times the share of a normal distribution below x; the error function to 1.5e-7. */
function gelu(x) {
  const {data} = x;
  for (let i = 0; i < data.length; i++) {
    const value = data[i], z = Math.abs(value) * Math.SQRT1_2, t = 1 / (1 + 0.3275911 * z);
    const tail = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t * Math.exp(-z * z);
    data[i] = value > 0 ? value * (1 - 0.5 * tail) : value * 0.5 * tail; // Abramowitz and Stegun 7.1.26
  }
  return x;
}

/** What each head answers from its token: logits by the token's name. */
function forwardHead(x, context) {
  const {heap, header} = context, mark = heap.top;
  const tokens = layerNorm({...x, rows: header.vit.prefix.length, data: x.data.subarray(0, header.vit.prefix.length * x.columns)}, "norm", context);
  const answers = header.vit.head_names.map((name, row) => outputs(linear(tokens, name, context), header.classes.length)[row]);
  heap.top = mark;
  return answers;
}

/** DeiT's one answer: the mean of its heads' logits, or the logarithm of their softmaxes' mean. */
function average(answers, kind) {
  const parts = kind === "logits" ? answers : answers.map(logits => softmax(Float32Array.from(logits), logits.length, 1, logits.length));
  const mean = parts[0].map((_, i) => parts.reduce((sum, part) => sum + part[i] / parts.length, 0));
  return kind === "logits" ? mean : mean.map(Math.log);
}

// Convolutional networks --------------------------------------------------------------------

/** The steps that a network was traced to, each with the results that it reads. */
function convolutional(images, context) {
  const layers = {conv2d, depthwise, add: addMaps, max_pool: maxPool, mean_pool: meanPool, linear: (x, step) => linear(x, step.name, context)};
  const results = [images];
  for (const step of context.header.steps) {
    const out = layers[step.layer](...step.inputs.map(i => results[i]), step, context);
    results.push(step.top === undefined ? out : clip(out, step.top));
  }
  const [logits] = outputs(results.at(-1), context.header.classes.length);
  return {logits, answers: [logits]};
}

/** ReLU, or with a top of 6 ReLU6, in place. */
function clip(x, top) {
  const {data} = x, most = top ?? Infinity;
  for (let i = 0; i < data.length; i++) data[i] = data[i] < 0 ? 0 : data[i] > most ? most : data[i];
  return x;
}

/** Places of a kernel over an image: visit(out, tap, at) for each that isn't in the padding. */
function slide(x, {kernel, stride, padding: [top, left], size: [height, width]}, visit) {
  for (let row = 0, out = 0; row < height; row++) {
    for (let column = 0; column < width; column++, out++) {
      for (let tap = 0; tap < kernel * kernel; tap++) {
        const y = row * stride - top + Math.floor(tap / kernel), z = column * stride - left + tap % kernel;
        if (y >= 0 && y < x.height && z >= 0 && z < x.width) visit(out, tap, y * x.width + z);
      }
    }
  }
}

/** Conv2d: the pixels under the kernel as one row, times the weights (with its BatchNorm inside). */
function conv2d(x, step, context) {
  const [height, width] = step.size, C = x.columns, count = height * width;
  let under = x;
  if (step.kernel > 1 || step.stride > 1) {
    under = context.heap.take(count, step.kernel ** 2 * C);
    under.data.fill(0);
    slide(x, step, (out, tap, at) => {
      const from = at * C, to = out * under.columns + tap * C;
      for (let c = 0; c < C; c++) under.data[to + c] = x.data[from + c];
    });
  }
  return {...linear(under, step.name, context), height, width};
}

/** Conv2d with one kernel for each channel. */
function depthwise(x, step, {heap, weights}) {
  const [height, width] = step.size, C = x.columns, out = heap.take(height * width, C);
  const kernels = weights[`${step.name}.weight`], bias = weights[`${step.name}.bias`], taps = step.kernel ** 2;
  for (let o = 0; o < out.data.length; o += C) out.data.set(bias, o);
  slide(x, step, (place, tap, at) => {
    const to = place * C, from = at * C;
    for (let c = 0; c < C; c++) out.data[to + c] += x.data[from + c] * kernels[c * taps + tap];
  });
  return {...out, height, width};
}

function addMaps(x, y, step, {heap}) {
  const out = {...heap.take(x.rows, x.columns), height: x.height, width: x.width};
  for (let i = 0; i < out.data.length; i++) out.data[i] = x.data[i] + y.data[i];
  return out;
}

function maxPool(x, step, {heap}) {
  const [height, width] = step.size, C = x.columns, out = heap.take(height * width, C);
  out.data.fill(-Infinity);
  slide(x, step, (place, tap, at) => {
    for (let c = 0; c < C; c++) out.data[place * C + c] = Math.max(out.data[place * C + c], x.data[at * C + c]);
  });
  return {...out, height, width};
}

function meanPool(x, step, {heap}) {
  const out = heap.take(1, x.columns);
  out.data.fill(0);
  for (let i = 0; i < x.data.length; i++) out.data[i % x.columns] += x.data[i] / x.rows;
  return {...out, height: 1, width: 1};
}
