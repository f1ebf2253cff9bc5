// The preprocessing contract in JavaScript: upright RGB pixels to the model's input, as Pillow and edge-tl compute it.
// Pure functions on typed arrays. They decode nothing and touch no page.

// Pillow's resampling filters (src/libImaging/Resample.c): the function, and how far it reaches.
const sinc = (x) => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));
const FILTERS = {
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  bicubic: [2, (x) => {
    const a = -0.5;
    x = Math.abs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
  }],
  lanczos: [3, (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0)],
};
const BITS = 22; // of a weight's fraction: Pillow's PRECISION_BITS

/** {data: Uint8Array, RGB, width, height} of the contract's size. Throws Error for a contract that is not known. */
export function pixels(image, contract) {
  const [width, height] = sizeAfterResize(image, contract);
  const resized = resize(image, width, height, contract.interpolation);
  if (contract.pad) return padded(resized, contract.resize_size, contract.pad);
  return contract.crop ? centerCrop(resized, contract.crop) : resized;
}

/** float32 planes (3, height, width): (pixel / 255 - mean) / std, each step rounded to float32. */
export function normalize(rgb, contract) {
  const mean = Float32Array.from(contract.mean);
  const std = Float32Array.from(contract.std);
  const area = rgb.length / 3;
  const planes = new Float32Array(rgb.length);
  for (let c = 0; c < 3; c++) {
    const table = Float32Array.from({length: 256}, (_, v) =>
      Math.fround(Math.fround(Math.fround(v / 255) - mean[c]) / std[c]));
    for (let i = 0; i < area; i++) planes[c * area + i] = table[rgb[3 * i + c]];
  }
  return planes;
}

/** [width, height] after the resize; the longer side is truncated, not rounded. */
function sizeAfterResize({width, height}, contract) {
  const [high, wide] = contract.resize_size;
  switch (contract.resize) {
    case "none": return [width, height];
    case "exact": return [wide, high];
    case "shorter":
      return width <= height
        ? [high, Math.trunc((high * height) / width)]
        : [Math.trunc((high * width) / height), high];
    case "letterbox": // as PIL.ImageOps.contain rounds it
      if (width / height > wide / high) return [wide, Math.max(1, halfToEven((height / width) * wide))];
      if (width / height < wide / high) return [Math.max(1, halfToEven((width / height) * high)), high];
      return [wide, high];
    default: throw new Error(`resize ${contract.resize} is unknown to this page: write it with the edge-tl of the bundle`);
  }
}

/** Pillow's Image.resize: nothing where the size is right, else across, then down, with 8-bit rounding in between. */
export function resize(image, width, height, interpolation) {
  if (width === image.width && height === image.height) return image;
  if (interpolation === "nearest") return nearest(image, width, height);
  const filter = FILTERS[interpolation];
  if (!filter) throw new Error(`interpolation ${interpolation} is unknown to this page`);
  let now = image;
  if (width !== now.width) now = across(now, weights(now.width, width, filter));
  if (height !== now.height) now = down(now, weights(now.height, height, filter));
  return now;
}

/** For each of `to` places: where its weights begin and how many they are, as whole numbers of 2 ** -BITS. */
function weights(from, to, [reach, filter]) {
  const scale = from / to;
  const stretch = Math.max(scale, 1); // antialiasing: a filter as wide as what becomes one pixel
  const support = reach * stretch;
  const size = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(to);
  const count = new Int32Array(to);
  const values = new Int32Array(to * size);
  const row = new Float64Array(size);
  for (let place = 0; place < to; place++) {
    const center = (place + 0.5) * scale;
    const begin = Math.max(Math.trunc(center - support + 0.5), 0);
    const n = Math.min(Math.trunc(center + support + 0.5), from) - begin;
    let sum = 0;
    for (let k = 0; k < n; k++) sum += row[k] = filter((k + begin - center + 0.5) * (1 / stretch));
    for (let k = 0; k < n; k++) {
      const weight = (sum === 0 ? row[k] : row[k] / sum) * (1 << BITS);
      values[place * size + k] = Math.trunc(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
    first[place] = begin;
    count[place] = n;
  }
  return {to, size, first, count, values};
}

const clipped = (sum) => Math.min(Math.max(sum >> BITS, 0), 255);

function across({data, width, height}, {to, size, first, count, values}) {
  const out = new Uint8Array(to * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < to; x++) {
      let r = 1 << (BITS - 1), g = r, b = r;
      let at = (y * width + first[x]) * 3;
      for (let k = x * size, end = k + count[x]; k < end; k++, at += 3) {
        r += data[at] * values[k];
        g += data[at + 1] * values[k];
        b += data[at + 2] * values[k];
      }
      const into = (y * to + x) * 3;
      out[into] = clipped(r);
      out[into + 1] = clipped(g);
      out[into + 2] = clipped(b);
    }
  }
  return {data: out, width: to, height};
}

function down({data, width}, {to, size, first, count, values}) {
  const line = width * 3;
  const out = new Uint8Array(line * to);
  const sums = new Int32Array(line);
  for (let y = 0; y < to; y++) {
    sums.fill(1 << (BITS - 1));
    for (let k = 0; k < count[y]; k++) {
      const weight = values[y * size + k];
      const from = (first[y] + k) * line;
      for (let i = 0; i < line; i++) sums[i] += data[from + i] * weight;
    }
    for (let i = 0; i < line; i++) out[y * line + i] = clipped(sums[i]);
  }
  return {data: out, width, height: to};
}

/** Pillow adds up its steps from the middle of the first pixel (src/libImaging/Geometry.c, ImagingScaleAffine). */
function nearest({data, width, height}, to, high) {
  const places = (from, n) => {
    const found = new Int32Array(n);
    const step = from / n;
    for (let i = 0, at = step * 0.5; i < n; i++, at += step) found[i] = Math.min(Math.floor(at), from - 1);
    return found;
  };
  const xs = places(width, to), ys = places(height, high);
  const out = new Uint8Array(to * high * 3);
  for (let y = 0, into = 0; y < high; y++) {
    for (let x = 0; x < to; x++) {
      const from = (ys[y] * width + xs[x]) * 3;
      for (let c = 0; c < 3; c++) out[into++] = data[from + c];
    }
  }
  return {data: out, width: to, height: high};
}

/** torchvision's CenterCrop: offsets rounded half to even, black where the image is smaller, of which the odd line goes
 * to the right and below. */
function centerCrop(image, [high, wide]) {
  const offset = (whole, part) => (whole < part ? -((part - whole) >> 1) : halfToEven((whole - part) / 2));
  return window([high, wide], image, offset(image.height, high), offset(image.width, wide), [0, 0, 0]);
}

/** PIL.ImageOps.pad: in the middle of a frame of `color`, at offsets rounded half to even. */
function padded(image, [high, wide], color) {
  return window([high, wide], image, -halfToEven((high - image.height) / 2), -halfToEven((wide - image.width) / 2), color);
}

/** [high, wide] pixels of the image from `top`, `left`, which may lie outside of it: there it is `color`. */
function window([high, wide], {data, width, height}, top, left, color) {
  const out = new Uint8Array(wide * high * 3);
  if (color.some(Boolean)) for (let i = 0; i < out.length; i++) out[i] = color[i % 3];
  const x = Math.max(0, -left);
  const n = Math.min(wide, width - left) - x;
  for (let y = Math.max(0, -top); y < Math.min(high, height - top); y++) {
    const from = ((y + top) * width + x + left) * 3;
    out.set(data.subarray(from, from + 3 * n), (y * wide + x) * 3);
  }
  return {data: out, width: wide, height: high};
}

/** Python's round() of what is not negative. */
function halfToEven(value) {
  const whole = Math.floor(value), rest = value - whole;
  return rest < 0.5 || (rest === 0.5 && whole % 2 === 0) ? whole : whole + 1;
}
