"use strict";
/* The arithmetic of the live page's networks: kernels.wasm and its memory. What lies in this folder
   runs in a worker, as one script (_ext/hw2live.py), and does in hw2lib's words and order what
   models, samplers and commands/classify do; tests/book/test_live.py holds them against each other.

   A tensor is {at, n, h, w, c}: its place in the memory and its shape, channels last. */

const COLOURS = 3;
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

function groupNorm(x, {gamma, beta}, {condition, pad = 1, silu = true, groups = 8} = {}) {
  const y = tensor(x.n, x.h + 2 * pad, x.w + 2 * pad, x.c);
  kernels.norm(x.at, gamma.at, beta.at, condition?.at ?? 0, y.at, x.n, x.h, x.w, x.c, pad, silu,
    groups);
  return y;
}

function attend(qkv, heads) {
  const y = tensor(qkv.n, qkv.h, qkv.w, qkv.c / 3);
  kernels.attention(qkv.at, y.at, qkv.n, qkv.h * qkv.w, y.c, heads);
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

/** Each position twice in both directions. */
function doubled(x) {
  const y = tensor(x.n, 2 * x.h, 2 * x.w, x.c), [from, to] = [floats(x), floats(y)];
  for (let row = 0, at = 0; row < y.n * y.h; row++)
    for (let column = 0; column < y.w; column++, at += x.c) {
      const first = ((row >> 1) * x.w + (column >> 1)) * x.c;
      to.set(from.subarray(first, first + x.c), at);
    }
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

/** (n, h, w, c) -> n images in the order (c, h, w). */
function imagesOf(x) {
  const values = floats(x), pixels = x.h * x.w;
  return Array.from({length: x.n}, (_, n) => Float32Array.from({length: x.c * pixels}, (_, i) =>
    values[(n * pixels + i % pixels) * x.c + Math.floor(i / pixels)]));
}

/** (sin(t f_0), .., cos(t f_0), ..) of all frequencies. */
function sinusoids(t, frequencies) {
  const angles = frequencies.map(f => t * f);
  return put([...angles.map(Math.sin), ...angles.map(Math.cos)]);
}
