"use strict";
// Any picture to what the networks see: upright, on white, resized and cropped as in evaluation.

const NO_PICTURE = "That is no picture that this browser can open. Try a JPEG, PNG, GIF, WebP or SVG file.";
const LARGEST = 640, LONGEST = 16384; // pixels of the shorter and of the longer side that are kept; larger pictures are made smaller first

/** The picture in a file or at a data: address, as {width, height, data} with red, green and blue. */
async function readPicture(source) {
  const image = new Image();
  try {
    image.src = typeof source === "string" ? source : await asDataAddress(source);
    await image.decode();
  } catch {
    throw new Error(NO_PICTURE);
  }
  if (!image.naturalWidth || !image.naturalHeight) throw new Error(NO_PICTURE);
  return fromDrawable(image, image.naturalWidth, image.naturalHeight);
}

function asDataAddress(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** The pixels of an image, a video's frame or a canvas, on white. */
function fromDrawable(drawable, wide, high) {
  const scale = Math.min(1, LARGEST / Math.min(wide, high), LONGEST / Math.max(wide, high));
  const [width, height] = [wide, high].map(side => Math.max(1, Math.round(side * scale)));
  const context = element("canvas", {width, height}).getContext("2d", {willReadFrequently: true});
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(drawable, 0, 0, width, height);
  const {data: rgba} = context.getImageData(0, 0, width, height), rgb = new Uint8ClampedArray(3 * width * height);
  for (let i = 0, o = 0; i < rgba.length; i += 4) {
    for (let c = 0; c < 3; c++) rgb[o++] = rgba[i + c];
  }
  return {width, height, data: rgb};
}

/** eval_transform: the shorter side to `data.resized` pixels, then a crop of the networks' size. */
function placePicture(picture, offset = 0.5) {
  const shorter = Math.min(picture.width, picture.height);
  const [width, height] = [picture.width, picture.height].map(side => Math.floor(data.resized * side / shorter));
  const left = roundEven((width - WIDTH) * (width > height ? offset : 0.5));
  const top = roundEven((height - HEIGHT) * (height > width ? offset : 0.5));
  const pixels = Float32Array.from(resize(picture, width, height, {left, top, wide: WIDTH, high: HEIGHT}).data, value => value / 255);
  const frame = {left: left / width, top: top / height, width: WIDTH / width, height: HEIGHT / height};
  return {pixels, frame};
}

/** To the nearest whole number and from the middle to the even one, as in Python's `round`. */
function roundEven(value) {
  const below = Math.floor(value), rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2) ? below + 1 : below;
}

/**
 * Bicubic with the kernel widened where it shrinks, first across and then down, as Pillow does.
 *
 * Only a window of the result is computed: a long strip is as quick as a square.
 */
function resize({width, height, data: pixels}, toWidth, toHeight, {left, top, wide, high} = {left: 0, top: 0, wide: toWidth, high: toHeight}) {
  const across = resampling(width, toWidth, left, wide), down = resampling(height, toHeight, top, high);
  const firstLine = down[0].first, endLine = down.at(-1).first + down.at(-1).weights.length;
  const narrowed = new Uint8ClampedArray(3 * wide * (endLine - firstLine));
  for (let x = 0; x < wide; x++) {
    const {first, weights} = across[x];
    for (let y = firstLine; y < endLine; y++) {
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let i = 0; i < weights.length; i++) sum += weights[i] * pixels[3 * (y * width + first + i) + c];
        narrowed[3 * ((y - firstLine) * wide + x) + c] = sum; // rounded and kept from 0 to 255
      }
    }
  }
  const out = new Uint8ClampedArray(3 * wide * high), line = 3 * wide;
  for (let y = 0; y < high; y++) {
    const {first, weights} = down[y];
    for (let x = 0; x < line; x++) {
      let sum = 0;
      for (let i = 0; i < weights.length; i++) sum += weights[i] * narrowed[(first - firstLine + i) * line + x];
      out[y * line + x] = sum;
    }
  }
  return {width: wide, height: high, data: out};
}

/** For `count` new pixels of a row, from `start` on, the old ones that each is made of, with their weights. */
function resampling(from, to, start, count) {
  const scale = from / to, wider = Math.max(1, scale), A = -0.5;
  const cubic = t => (t < 1 ? ((A + 2) * t - (A + 3)) * t * t + 1 : t < 2 ? (((t - 5) * t + 8) * t - 4) * A : 0);
  return Array.from({length: count}, (_, place) => {
    const centre = (start + place + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - 2 * wider + 0.5)), last = Math.min(from, Math.floor(centre + 2 * wider + 0.5));
    const weights = Array.from({length: last - first}, (_, i) => cubic(Math.abs((first + i + 0.5 - centre) / wider)));
    const sum = weights.reduce((a, b) => a + b, 0);
    return {first, weights: weights.map(weight => weight / sum)};
  });
}

/** The pixels with some patches in the picture's mean colour, as in the book's deletion test. */
function erase(pixels, erased) {
  if (!erased.size) return pixels;
  const out = pixels.slice(), mean = [0, 1, 2].map(c => {
    let sum = 0;
    for (let i = c; i < pixels.length; i += 3) sum += pixels[i];
    return sum / (pixels.length / 3);
  });
  for (const patch of erased) {
    const top = Math.floor(patch / COLUMNS) * PATCH, left = (patch % COLUMNS) * PATCH;
    for (let y = top; y < top + PATCH; y++) {
      for (let x = left; x < left + PATCH; x++) out.set(mean, 3 * (y * WIDTH + x));
    }
  }
  return out;
}
