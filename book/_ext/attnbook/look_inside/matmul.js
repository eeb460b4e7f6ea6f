// The one product that everything is made of: (M, K) times (K, N), in vectors of four numbers
// where WebAssembly has them, else in plain JavaScript. Both read the same memory.
"use strict";

const PANEL = 8; // columns of the right factor that are multiplied together
const TILE = 4; // rows of the left factor, likewise

/** Numbers that `multiply` can read: taken one behind the other, given back down to a mark. */
class Heap {
  constructor(bytes, plain = false) {
    const pages = Math.ceil(bytes / 65536);
    this.memory = new WebAssembly.Memory({initial: pages, maximum: pages});
    this.floats = new Float32Array(this.memory.buffer);
    this.top = 4;
    this.multiplyPanel = plain ? multiplyPanelPlain(this.floats) : multiplyPanelVectors(this.memory) ?? multiplyPanelPlain(this.floats);
  }

  /** Room for a matrix, with whole tiles of rows; it holds whatever was there before. */
  take(rows, columns) {
    const at = this.top, size = roundUp(rows, TILE) * columns;
    this.top = at + roundUp(size, 4);
    if (this.top > this.floats.length) throw new RangeError(`the network's memory of ${this.floats.length} numbers is full`);
    return {at, rows, columns, data: this.floats.subarray(at, at + rows * columns)};
  }

  /** out (M, N) = left (M, K) right (K, N); `right` is packed, `left` may be a part of wider rows. */
  multiply(left, right, out = this.take(left.rows, right.columns)) {
    const width = left.stride ?? left.columns, stride = out.stride ?? out.columns;
    for (let n = 0; n < right.columns; n += PANEL) {
      this.multiplyPanel(4 * left.at, 4 * width, 4 * (right.at + n * right.rows), 4 * (out.at + n), 4 * stride, right.rows, roundUp(left.rows, TILE));
    }
    return out;
  }

  /** Lay out (K, N), given as value(k, n), so that a panel's numbers are read in their order. */
  pack(rows, columns, value) {
    const wide = roundUp(columns, PANEL), packed = this.take(wide, rows);
    for (let n = 0, o = packed.at; n < wide; n += PANEL) {
      for (let k = 0; k < rows; k++) {
        for (let c = n; c < n + PANEL; c++) this.floats[o++] = c < columns ? value(k, c) : 0;
      }
    }
    return {at: packed.at, rows, columns: wide, outputs: columns};
  }
}

const roundUp = (count, step) => Math.ceil(count / step) * step;

/** One panel of columns in JavaScript: two rows at a time. Places are counted in bytes. */
function multiplyPanelPlain(f) {
  return (a, lda, b, c, ldc, K, M) => {
    for (let m = 0; m < M; m += 2) {
      let x = (a + m * lda) >> 2, y = x + (lda >> 2), w = b >> 2;
      let p0 = 0, p1 = 0, p2 = 0, p3 = 0, p4 = 0, p5 = 0, p6 = 0, p7 = 0;
      let q0 = 0, q1 = 0, q2 = 0, q3 = 0, q4 = 0, q5 = 0, q6 = 0, q7 = 0;
      for (let k = 0; k < K; k++, w += 8) {
        const s = f[x++], t = f[y++];
        const w0 = f[w], w1 = f[w + 1], w2 = f[w + 2], w3 = f[w + 3], w4 = f[w + 4], w5 = f[w + 5], w6 = f[w + 6], w7 = f[w + 7];
        p0 += s * w0; p1 += s * w1; p2 += s * w2; p3 += s * w3; p4 += s * w4; p5 += s * w5; p6 += s * w6; p7 += s * w7;
        q0 += t * w0; q1 += t * w1; q2 += t * w2; q3 += t * w3; q4 += t * w4; q5 += t * w5; q6 += t * w6; q7 += t * w7;
      }
      const o = (c + m * ldc) >> 2, u = o + (ldc >> 2);
      f[o] = p0; f[o + 1] = p1; f[o + 2] = p2; f[o + 3] = p3; f[o + 4] = p4; f[o + 5] = p5; f[o + 6] = p6; f[o + 7] = p7;
      f[u] = q0; f[u + 1] = q1; f[u + 2] = q2; f[u + 3] = q3; f[u + 4] = q4; f[u + 5] = q5; f[u + 6] = q6; f[u + 7] = q7;
    }
  };
}

/** The same in WebAssembly, four rows at a time, assembled here; null where it has no vectors. */
function multiplyPanelVectors(memory) {
  const [A, LDA, B, C, LDC, K, M, k, w] = [0, 1, 2, 3, 4, 5, 6, 7, 8]; // parameters, then locals
  const row = r => 9 + r, place = r => 13 + r, sum = (r, half) => 17 + 2 * r + half, W0 = 25, W1 = 26, X = 27;
  const get = i => [0x20, i], set = i => [0x21, i], tee = i => [0x22, i], int = n => [0x41, n];
  const add = [0x6a], subtract = [0x6b];
  const vector = (code, ...rest) => [0xfd, code, ...rest];
  const load = offset => vector(0x00, 2, offset), splat = vector(0x09, 2, 0), store = offset => vector(0x0b, 2, offset);
  const zero = vector(0x0c, ...Array(16).fill(0)), times = vector(0xe6, 0x01), plus = vector(0xe4, 0x01);
  const step = (local, by) => [...get(local), ...by, ...add, ...set(local)];
  const loop = body => [0x03, 0x40, ...body, 0x0b], again = [0x0d, 0]; // branches back where the top is not 0
  const rows = [0, 1, 2, 3], each = make => rows.flatMap(make);
  const accumulate = (r, half, weights) => [...get(sum(r, half)), ...get(X), ...get(weights), ...times, ...plus, ...set(sum(r, half))];
  const body = loop([
    ...get(A), ...set(row(0)), ...get(C), ...set(place(0)),
    ...[1, 2, 3].flatMap(r => [...get(row(r - 1)), ...get(LDA), ...add, ...set(row(r)), ...get(place(r - 1)), ...get(LDC), ...add, ...set(place(r))]),
    ...each(r => [...zero, ...set(sum(r, 0)), ...zero, ...set(sum(r, 1))]),
    ...get(B), ...set(w), ...get(K), ...set(k),
    ...loop([
      ...get(w), ...load(0), ...set(W0), ...get(w), ...load(16), ...set(W1),
      ...each(r => [...get(row(r)), ...splat, ...set(X), ...accumulate(r, 0, W0), ...accumulate(r, 1, W1), ...step(row(r), int(4))]),
      ...step(w, int(32)), ...get(k), ...int(1), ...subtract, ...tee(k), ...again,
    ]),
    ...each(r => [...get(place(r)), ...get(sum(r, 0)), ...store(0), ...get(place(r)), ...get(sum(r, 1)), ...store(16)]),
    ...get(place(3)), ...get(LDC), ...add, ...set(C), ...get(row(3)), ...get(K), ...int(2), 0x74, ...subtract, ...get(LDA), ...add, ...set(A),
    ...get(M), ...int(4), ...subtract, ...tee(M), ...again,
  ]);
  const length = n => (n < 128 ? [n] : [(n & 127) | 128, ...length(n >> 7)]);
  const section = (id, bytes) => [id, ...length(bytes.length), ...bytes];
  const name = text => [text.length, ...[...text].map(letter => letter.charCodeAt(0))];
  const code = [2, 10, 0x7f, 11, 0x7b, ...body, 0x0b]; // ten more integers, eleven vectors
  const pages = memory.buffer.byteLength / 65536;
  const module = Uint8Array.from([
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, [1, 0x60, 7, ...Array(7).fill(0x7f), 0]),
    ...section(2, [1, ...name("m"), ...name("m"), 2, 1, ...length(pages), ...length(pages)]),
    ...section(3, [1, 0]),
    ...section(7, [1, ...name("f"), 0, 0]),
    ...section(10, [1, ...length(code.length), ...code]),
  ]);
  if (!WebAssembly.validate(module)) return null;
  return new WebAssembly.Instance(new WebAssembly.Module(module), {m: {m: memory}}).exports.f;
}
