"use strict";
/* The networks and samplers of the live page. It runs in a worker and does, in hw2lib's words and
   order, what models/digit_unet, samplers, models/dann_net and commands/classify do; the test
   tests/book/test_live.py holds them against each other.

   A message {id, task, ...} is answered by {id, result} or {id, error}, and before that by one
   {id, step} for each step of a sampler. Images are float32 or uint8 in the order (3, H, W). */

// --- arithmetic: kernels.wasm and its memory -----------------------------------------------------

let kernels, memory, top; // the module's functions, its memory, where the free part of it begins

function setup({wasm}) {
  kernels = new WebAssembly.Instance(new WebAssembly.Module(bytesOf(wasm))).exports;
  memory = kernels.memory;
  top = kernels.heap_base();
}

/** A tensor (n, h, w, c) in the module's memory; its contents are what lay there before. */
function tensor(n, h, w, c) {
  const at = (top + 15) & ~15;
  top = at + 4 * n * h * w * c;
  const pages = Math.ceil((top - memory.buffer.byteLength) / 65536);
  if (pages > 0) memory.grow(pages);
  return {at, n, h, w, c};
}

function floats({at, n, h, w, c}) {
  return new Float32Array(memory.buffer, at, n * h * w * c);
}

function put(array, n = 1, h = 1, w = 1, c = array.length) {
  const y = tensor(n, h, w, c);
  floats(y).set(array);
  return y;
}

/** What `work` returns; the memory that it took on the way is free again. */
function scratch(work) {
  const before = top;
  try {
    return work();
  } finally {
    top = before;
  }
}

function convolve(x, {weight, bias, k, o}, stride = 1) {
  const y = tensor(x.n, Math.floor((x.h - k) / stride) + 1, Math.floor((x.w - k) / stride) + 1, o);
  kernels.conv(x.at, weight.at, bias.at, y.at, x.n, x.h, x.w, x.c, k, stride, y.h, y.w, o);
  return y;
}

function groupNorm(x, {gamma, beta}, {condition, pad = 1, silu = true} = {}) {
  const y = tensor(x.n, x.h + 2 * pad, x.w + 2 * pad, x.c);
  kernels.norm(x.at, gamma.at, beta.at, condition?.at ?? 0, y.at, x.n, x.h, x.w, x.c, pad, silu);
  return y;
}

function attend(qkv) {
  const y = tensor(qkv.n, qkv.h, qkv.w, qkv.c / 3);
  kernels.attention(qkv.at, y.at, qkv.n, qkv.h * qkv.w, y.c);
  return y;
}

/** x within `pad` zeros on all sides. */
function framed(x, pad) {
  const y = tensor(x.n, x.h + 2 * pad, x.w + 2 * pad, x.c);
  const [from, to] = [floats(x), floats(y).fill(0)];
  for (let row = 0; row < x.n * x.h; row++) {
    const [image, line] = [Math.floor(row / x.h), row % x.h];
    const line0 = ((image * y.h + line + pad) * y.w + pad) * x.c;
    to.set(from.subarray(row * x.w * x.c, (row + 1) * x.w * x.c), line0);
  }
  return y;
}

function concatenate(a, b) {
  const y = tensor(a.n, a.h, a.w, a.c + b.c);
  const [to, ...parts] = [y, a, b].map(floats);
  for (let p = 0; p < a.n * a.h * a.w; p++) {
    to.set(parts[0].subarray(p * a.c, (p + 1) * a.c), p * y.c);
    to.set(parts[1].subarray(p * b.c, (p + 1) * b.c), p * y.c + a.c);
  }
  return y;
}

function add(x, y) {
  const [from, to] = [floats(x), floats(y)];
  for (let i = 0; i < to.length; i++) to[i] += from[i];
  return y;
}

/** (n, h, w, c r r) -> (n, h r, w r, c), channel c r r + i r + j to a square's (i, j). */
function pixelShuffle(x, r, c) {
  const y = tensor(x.n, x.h * r, x.w * r, c);
  const [from, to] = [floats(x), floats(y)];
  for (let row = 0, at = 0; row < y.n * y.h; row++) {
    for (let column = 0; column < y.w; column++) {
      const square = (Math.floor(row / r) * x.w + Math.floor(column / r)) * x.c;
      const pixel = (row % r) * r + (column % r);
      for (let i = 0; i < c; i++) to[at++] = from[square + i * r * r + pixel];
    }
  }
  return y;
}

/** The way back, from an image in the order (c, h r, w r), the same for all n. */
function pixelUnshuffle(image, n, c, side, r) {
  const [h, w] = [side / r, side / r];
  const y = tensor(n, h, w, c * r * r), to = floats(y);
  for (let p = 0, at = 0; p < n * h * w; p++) {
    const [row, column] = [Math.floor(p / w) % h, p % w];
    for (let i = 0; i < c; i++)
      for (let a = 0; a < r; a++)
        for (let b = 0; b < r; b++)
          to[at++] = image[(i * side + row * r + a) * side + column * r + b];
  }
  return y;
}

function silu(x) {
  const values = floats(x);
  for (let i = 0; i < values.length; i++) values[i] /= 1 + Math.exp(-values[i]);
  return x;
}

// --- weights files -------------------------------------------------------------------------------

const HALF = Float32Array.from({length: 65536}, (_, bits) => {
  const exponent = (bits >> 10) & 31, fraction = (bits & 1023) / 1024;
  const size = exponent ? (1 + fraction) * 2 ** (exponent - 15) : fraction * 2 ** -14;
  return bits >> 15 ? -size : size;
});

function bytesOf(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** {header, tensors: name -> {shape, data}} of a safetensors file. */
function readWeights(bytes) {
  const size = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const {__metadata__: {config}, ...index} = JSON.parse(
    new TextDecoder().decode(bytes.subarray(8, 8 + size)));
  const tensors = {};
  for (const [name, {dtype, shape, data_offsets: [from, to]}] of Object.entries(index)) {
    const part = bytes.slice(8 + size + from, 8 + size + to).buffer;
    const halves = () => Float32Array.from(new Uint16Array(part), bits => HALF[bits]);
    tensors[name] = {shape, data: dtype === "F16" ? halves() : new Float32Array(part)};
  }
  return {header: JSON.parse(config), tensors};
}

/** name -> a layer for `convolve` or `groupNorm`, of all that has a weight. */
function layersOf(tensors) {
  const layers = {};
  for (const [key, {shape, data}] of Object.entries(tensors)) {
    const name = key.replace(/\.weight$/, ""), bias = tensors[`${name}.bias`]?.data;
    if (name === key) continue;
    layers[name] = shape.length > 1 ? packed(shape, data, bias)
      : {gamma: put(data), beta: put(bias)};
  }
  return layers;
}

/** Weights (O, C, K, K) as `conv` reads them, (O / 8, K, K, C, 8), O filled up with zeros. */
function packed([outputs, c, k = 1], data, bias = []) {
  const o = 8 * Math.ceil(outputs / 8), weight = tensor(1, k * k, c, o), to = floats(weight);
  to.fill(0);
  for (let i = 0, at = 0; i < outputs; i++)
    for (let j = 0; j < c; j++)
      for (let tap = 0; tap < k * k; tap++, at++)
        to[(((i >> 3) * k * k + tap) * c + j) * 8 + (i & 7)] = data[at];
  const filled = new Float32Array(o);
  filled.set(bias);
  return {weight, bias: put(filled), k, o};
}

const networks = {}; // name of a weights file -> a function

function weights({name, base64}) {
  const {header, tensors} = readWeights(bytesOf(base64));
  networks[name] = {digit_unet: digitUNet, dann: reader}[header.kind](header, tensors);
}

// --- the digit UNet (models/digit_unet) ----------------------------------------------------------

const SIDE = 28, COLOURS = 3, NULL_LABEL = 10;

/** (x (3, 28, 28), t, labels) -> outputs (3, 28, 28), one a label. */
function digitUNet({architecture: {blocks, unfold, scaled, widths}}, tensors) {
  if (!scaled) throw new Error("a network with scaled=false cannot be drawn from here");
  const layer = layersOf(tensors);
  const frequencies = tensors["time.0.inv_freq"].data, label = tensors["label.weight"];

  function conditions(t, labels) { // (n, 1, 1, e)
    const angles = frequencies.map(f => t * f);
    const time = silu(convolve(put([...angles.map(Math.sin), ...angles.map(Math.cos)]),
      layer["time.1"]));
    const width = label.shape[1], out = floats(convolve(time, layer.time_out));
    const sums = new Float32Array(labels.length * width).map((_, i) =>
      out[i % width] + label.data[labels[Math.floor(i / width)] * width + i % width]);
    return silu(put(sums, labels.length, 1, 1, width));
  }

  function block(x, name, condition) {
    const h = convolve(groupNorm(x, layer[`${name}.norm1`]), layer[`${name}.conv1`]);
    condition = convolve(condition, layer[`${name}.condition`]);
    const y = convolve(groupNorm(h, layer[`${name}.norm2`], {condition}), layer[`${name}.conv2`]);
    return add(layer[`${name}.skip`] ? convolve(x, layer[`${name}.skip`]) : x, y);
  }

  function forward(image, t, labels) {
    const condition = conditions(t, labels), skips = [], [n1, n2] = blocks;
    let x = pixelUnshuffle(image, labels.length, COLOURS, SIDE, unfold);
    x = convolve(framed(x, 1), layer.first);
    for (let i = 0; i < n1; i++) skips.push(x = block(x, `down14.${i}`, condition));
    x = convolve(framed(x, 1), layer.shrink, 2);
    for (let i = 0; i < n2; i++) skips.push(x = block(x, `down7.${i}`, condition));
    const qkv = convolve(groupNorm(x, layer["attention.norm"], {pad: 0, silu: false}),
      layer["attention.qkv"]);
    x = add(x, convolve(attend(qkv), layer["attention.out"]));
    x = block(x, "middle", condition);
    for (let i = 0; i < n2; i++) x = block(concatenate(x, skips.pop()), `up7.${i}`, condition);
    x = pixelShuffle(convolve(x, layer.grow), 2, widths[0]);
    for (let i = 0; i < n1; i++) x = block(concatenate(x, skips.pop()), `up14.${i}`, condition);
    return pixelShuffle(convolve(groupNorm(x, layer.norm), layer.last), unfold, COLOURS);
  }

  return (image, t, labels) => scratch(() => {
    const values = floats(forward(image, t, labels)), pixels = SIDE * SIDE;
    return labels.map((_, n) => Float32Array.from({length: COLOURS * pixels}, (_, i) =>
      values[(n * pixels + i % pixels) * COLOURS + Math.floor(i / pixels)]));
  });
}

// --- guidance and the samplers (diffusion, samplers) ---------------------------------------------

/** x_t, t -> {x0, eps} of the network's v, guided: (1 + w) conditional - w unconditional. */
function denoiser(network, alphaBar, label, w) {
  return (x, t) => {
    const [conditional, unconditional] = network(x, t, w === 0 ? [label] : [label, NULL_LABEL]);
    const v = conditional.map((c, i) => w === 0 ? c : (1 + w) * c - w * unconditional[i]);
    const a = Math.sqrt(alphaBar[t]), s = Math.sqrt(1 - alphaBar[t]);
    return {x0: x.map((value, i) => Math.min(1, Math.max(-1, a * value - s * v[i]))),
      eps: x.map((value, i) => s * value + a * v[i])};
  };
}

/** `steps` time steps, falling from T - 1; halves are rounded to even, as Python does. */
function timeSteps(total, steps) {
  return Array.from({length: steps}, (_, i) => {
    const exact = total * (steps - i) / steps, low = Math.floor(exact);
    return (exact - low === 0.5 ? low + low % 2 : Math.round(exact)) - 1;
  });
}

function ddimStep(x, {x0, eps}, abNext) { // eta = 0
  const a = Math.sqrt(abNext), s = Math.sqrt(1 - abNext);
  return x0.map((value, i) => a * value + s * eps[i]);
}

/** DPM-Solver++(2M), the formula above `dpmpp_step`; before: {ab, x0} one step earlier. */
function dpmppStep(x, {x0}, before, ab, abNext) {
  const halfLogSnr = p => Math.log(p / (1 - p)) / 2;
  const h = halfLogSnr(abNext) - halfLogSnr(ab);
  let d = x0;
  if (before && abNext < 1) {
    const r = (halfLogSnr(ab) - halfLogSnr(before.ab)) / h;
    d = x0.map((value, i) => value + 0.5 / r * (value - before.x0[i]));
  }
  const kept = Math.sqrt((1 - abNext) / (1 - ab)), gained = Math.sqrt(abNext) * -Math.expm1(-h);
  return x.map((value, i) => kept * value + gained * d[i]);
}

/** Draw one digit; `onStep` sees {t, x, x0} before every step. Returns x (3, 28, 28). */
function draw({name, alphaBar, noise, label, w, steps, solver}, onStep) {
  const denoise = denoiser(networks[name], alphaBar, label, w);
  const times = timeSteps(alphaBar.length, steps);
  let x = noise, before = null;
  times.forEach((t, i) => {
    const found = denoise(x, t), ab = alphaBar[t];
    const abNext = i + 1 < steps ? alphaBar[times[i + 1]] : 1;
    onStep({t, x, x0: found.x0});
    x = solver === "ddim" ? ddimStep(x, found, abNext) : dpmppStep(x, found, before, ab, abNext);
    before = {ab, x0: found.x0};
  });
  return x;
}

// --- adaptation: a picture becomes a digit (commands/classify) -----------------------------------

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

function read({name, pixels}) {
  return networks[name](pixels);
}

const TASKS = {setup, weights, draw, asDigit, read};

onmessage = ({data: {id, task, ...rest}}) => {
  try {
    postMessage({id, result: TASKS[task](rest, step => postMessage({id, step}))});
  } catch (error) {
    postMessage({id, error: error.message});
  }
};
