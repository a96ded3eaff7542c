/* Adaptation: a picture becomes a digit (commands/classify), and is read (models/dann_net). */

/** RGBA pixels of any size -> uint8 (3, 28, 28), the longer side 28, the shorter filled up. */
function asDigit({rgba, width, height}) {
  const scale = SIDE / Math.max(width, height);
  const [w, h] = [width, height].map(side => Math.max(1, roundEven(scale * side)));
  const [above, left] = [SIDE - h, SIDE - w].map(rest => Math.floor(rest / 2));
  const flat = opaque(rgba), out = new Uint8Array(COLOURS * SIDE * SIDE);
  const inside = (i, n) => Math.min(n - 1, Math.max(0, i));
  for (let c = 0; c < COLOURS; c++) {
    const channel = Uint8Array.from({length: width * height}, (_, i) => flat[COLOURS * i + c]);
    const narrow = resized(channel, height, width, w, 1);
    const small = resized(narrow, w, height, h, w);
    for (let y = 0; y < SIDE; y++)
      for (let x = 0; x < SIDE; x++)
        out[(c * SIDE + y) * SIDE + x] = small[inside(y - above, h) * w + inside(x - left, w)];
  }
  return out;
}

function roundEven(x) {
  const low = Math.floor(x);
  return x - low === 0.5 ? low + low % 2 : Math.round(x);
}

/** Transparency is laid over black or white, whichever is further from the picture's mean. */
function opaque(rgba) {
  const pixels = rgba.length / 4;
  let total = 0, cover = 0;
  for (let i = 0; i < pixels; i++) {
    const alpha = rgba[4 * i + 3] / 255;
    cover += alpha;
    total += alpha * (rgba[4 * i] + rgba[4 * i + 1] + rgba[4 * i + 2]);
  }
  const ground = total / Math.max(1, COLOURS * cover) > 127.5 ? 0 : 255;
  return Uint8Array.from({length: COLOURS * pixels}, (_, i) => {
    const pixel = Math.floor(i / COLOURS), alpha = rgba[4 * pixel + 3] / 255;
    return roundEven(ground + alpha * (rgba[4 * pixel + i % COLOURS] - ground));
  });
}

/** Lines of `size` values -> lines of `wanted`, by Pillow's bilinear filter with antialiasing.

    stride 1: `lines` rows of an image, one after the other; else its columns, `stride` of them. */
function resized(values, lines, size, wanted, stride) {
  if (size === wanted) return values;
  const out = new Float64Array(lines * wanted), scale = size / wanted, support = Math.max(1, scale);
  for (let i = 0; i < wanted; i++) {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - support + 0.5));
    const last = Math.min(size, Math.floor(centre + support + 0.5));
    const taps = Array.from({length: last - first}, (_, j) =>
      Math.max(0, 1 - Math.abs(first + j - centre + 0.5) / support));
    const total = taps.reduce((a, b) => a + b);
    for (let line = 0; line < lines; line++) {
      const [from, to] = stride === 1 ? [line * size, line * wanted] : [line, line];
      let value = 0;
      taps.forEach((tap, j) => value += tap / total * values[from + (first + j) * stride]);
      out[to + i * stride] = Math.min(255, Math.floor(value + 0.5));
    }
  }
  return out;
}

// --- adaptation: reading it (models/dann_net, datasets/augment) ----------------------------------

const CORNERS = [[1, 1], [0, 1], [2, 1], [1, 0], [1, 2]], POOLED = [1, 2], TARGET = 1;

/** uint8 (3, 28, 28) -> ten probabilities, from the mean logits of the views that it reads. */
function reader({channels, standardise, separate, readings, inverted}, tensors) {
  const layer = layersOf(tensors), domain = separate ? TARGET : 0;
  readings ??= inverted ? 2 : 1;
  const norms = [0, 1, 2, 3].map(i => {
    const part = key => tensors[`extractor.norms.${i}.${key}`].data, n = part("weight").length;
    const scale = part("weight").map((g, j) => g / Math.sqrt(part("var")[domain * n + j] + 1e-5));
    return {scale, shift: part("bias").map((b, j) => b - part("mean")[domain * n + j] * scale[j])};
  });

  function features(x) { // (views, 28, 28, channels) -> (views, 256)
    norms.forEach(({scale, shift}, i) => {
      x = convolve(framed(x, i ? 1 : 2), layer[`extractor.convs.${i}`], i ? 1 : 2);
      if (POOLED.includes(i)) x = maxPool(x);
      const values = floats(x);
      for (let j = 0; j < values.length; j++)
        values[j] = Math.max(0, scale[j % x.c] * values[j] + shift[j % x.c]);
    });
    return x;
  }

  return pixels => scratch(() => {
    const x = features(views(prepared(pixels, channels, standardise), channels, readings));
    const mean = new Float32Array(x.c), all = floats(x);
    all.forEach((value, i) => mean[i % x.c] += value / (all.length / x.c));
    const logits = floats(convolve(put(mean), layer.label_head)).slice(0, 10);
    const powers = logits.map(value => Math.exp(value - Math.max(...logits)));
    return powers.map(power => power / powers.reduce((a, b) => a + b));
  });
}

/** uint8 (3, 28, 28) -> the network's input (channels, 28, 28); one channel is the mean. */
function prepared(pixels, channels, standardise) {
  const size = SIDE * SIDE;
  const x = Float32Array.from({length: channels * size}, (_, i) => (channels > 1 ? pixels[i]
    : (pixels[i] + pixels[i + size] + pixels[i + 2 * size]) / COLOURS) / 255);
  if (!standardise) return x.map(value => 4 * value - 2);
  const mean = x.reduce((a, b) => a + b) / x.length;
  const sd = Math.sqrt(x.reduce((a, b) => a + (b - mean) ** 2, 0) / x.length);
  return x.map(value => (value - mean) / (sd + 0.02));
}

/** What is read of x: 1: x; 2: x and -x; 10: also both moved by a pixel, edges reflected. */
function views(x, channels, readings) {
  const corners = readings === 10 ? CORNERS : [[1, 1]], signs = readings > 1 ? [1, -1] : [1];
  const y = tensor(signs.length * corners.length, SIDE, SIDE, channels), to = floats(y);
  const reflect = i => i < 0 ? -i : i >= SIDE ? 2 * SIDE - 2 - i : i;
  let at = 0;
  for (const sign of signs)
    for (const [down, across] of corners)
      for (let row = 0; row < SIDE; row++)
        for (let column = 0; column < SIDE; column++)
          for (let c = 0; c < channels; c++)
            to[at++] = sign * x[(c * SIDE + reflect(row + down - 1)) * SIDE
              + reflect(column + across - 1)];
  return y;
}

/** The largest of each square of 2x2; an odd last line is left out. */
function maxPool(x) {
  const y = tensor(x.n, x.h >> 1, x.w >> 1, x.c), [from, to] = [floats(x), floats(y)];
  for (let p = 0, at = 0; p < y.n * y.h * y.w; p++) {
    const [image, row, column] = [Math.floor(p / (y.h * y.w)), Math.floor(p / y.w) % y.h, p % y.w];
    const first = ((image * x.h + 2 * row) * x.w + 2 * column) * x.c, below = first + x.w * x.c;
    for (let c = 0; c < x.c; c++)
      to[at++] = Math.max(from[first + c], from[first + x.c + c], from[below + c],
        from[below + x.c + c]);
  }
  return y;
}

