"use strict";
/* What the parts of the live page share: loading, workers, pictures. What is computed for them
   stands in the folder worker.

   The page may be opened by double click, where a browser loads scripts and nothing else. So the
   models lie in the folder data as scripts, made by _ext/hw2live.py, each of which calls
   hw2live.give(name, value); they are loaded when a button asks for them. */
var hw2live = (() => {
  const SIDE = 28, SIZE = 3 * SIDE * SIDE;
  const folder = new URL(".", document.currentScript.src);
  const given = {};

  function give(name, value) {
    given[name] = value;
  }

  /** The value that the script live/data/NAME.js gives, loaded at the first call. */
  function load(name) {
    if (name in given) return Promise.resolve(given[name]);
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = new URL(`data/${name}.js`, folder);
      script.onload = () => resolve(given[name]);
      script.onerror = () => reject(new Error(
        `live/data/${name}.js cannot be loaded; the folder live must lie beside this page`));
      document.head.append(script);
    });
  }

  /** Bytes of a text, 15 bits a letter from 0x5000 on; the first letter counts those too many. */
  function bytesOf(text) {
    const size = (text.length - 1) / 8 * 15 - (text.charCodeAt(0) - 0x5000);
    const bytes = new Uint8Array(size);
    let held = 0, bits = 0, at = 0;
    for (let i = 1; i < text.length; i++) {
      held = (held & 127) << 15 | text.charCodeAt(i) - 0x5000; // at most seven bits were left
      for (bits += 15; bits >= 8; bits -= 8) bytes[at++] = held >> bits - 8;
    }
    return bytes;
  }

  // --- workers -----------------------------------------------------------------------------------

  /** A function (task, what it needs, onStep) -> promise, answered by a worker of its own. */
  async function hire() {
    const {worker: source, wasm} = await load("engine");
    const simd = window.WebAssembly && WebAssembly.validate(bytesOf(wasm));
    if (!simd || !window.DecompressionStream)
      throw new Error(`this browser has no ${simd ? "DecompressionStream" : "WebAssembly with SIMD"
        }; Chrome and Edge have it from version 91 on, Firefox from 113, Safari from 16.4`);
    const parts = [bytesOf, uniform, normal, source].map(part => `${part}\n`);
    const worker = new Worker(URL.createObjectURL(new Blob(parts, {type: "text/javascript"})));
    const waiting = new Map();
    let last = 0;
    worker.onmessage = ({data: {id, step, result, error}}) => {
      const {resolve, reject, onStep} = waiting.get(id);
      if (step) return onStep(step);
      waiting.delete(id);
      error ? reject(new Error(error)) : resolve(result);
    };
    worker.onerror = ({message}) => waiting.forEach(({reject}) =>
      reject(new Error(message || "this browser starts no worker from a page of this kind")));
    const ask = (task, needs, onStep) => new Promise((resolve, reject) => {
      waiting.set(++last, {resolve, reject, onStep});
      worker.postMessage({id: last, task, ...needs});
    });
    await ask("setup", {wasm});
    return ask;
  }

  /** A function that gives each piece of work, a function of a worker, to the next one free. */
  function taskQueue(workers) {
    const free = [...workers], queue = [];
    function next() {
      while (free.length && queue.length) {
        const worker = free.pop();
        queue.shift()(worker).finally(() => (free.push(worker), next()));
      }
    }
    return work => new Promise((resolve, reject) => {
      queue.push(worker => work(worker).then(resolve, reject));
      next();
    });
  }

  /** What `make` promises, made once; after a failure it is tried again. */
  function once(make) {
    let made;
    return () => made ??= make().catch(error => {
      made = undefined;
      throw error;
    });
  }

  /** A function that promises workers which have the weights of the script `name`. */
  function crewOf(name) {
    return once(async () => {
      const {file, weights, base} = await load(name);
      const texts = base ? [(await load(base)).weights, weights] : [weights];
      const size = Math.min(4, navigator.hardwareConcurrency || 2);
      return taskQueue(await Promise.all(Array.from({length: size}, async () => {
        const ask = await hire();
        await ask("weights", {name: file, texts});
        return ask;
      })));
    });
  }

  // --- pictures ----------------------------------------------------------------------------------

  /** Show square images, uint8 (3, side, side) each, in rows of `columns`. */
  function show(canvas, images, columns = 1) {
    const pixels = (images.find(Boolean) ?? []).length / 3, side = Math.sqrt(pixels);
    canvas.width = side * columns;
    canvas.height = side * Math.ceil(images.length / columns);
    const context = canvas.getContext("2d");
    images.forEach((image, n) => {
      const picture = context.createImageData(side, side);
      for (let i = 0; i < pixels; i++)
        picture.data.set([image[i], image[i + pixels], image[i + 2 * pixels], 255], 4 * i);
      context.putImageData(picture, side * (n % columns), side * Math.floor(n / columns));
    });
  }

  /** Float in [-1, 1] -> uint8; a clamped array rounds halves to even, as torch does. */
  function toBytes(x) {
    return Uint8ClampedArray.from(x, value => (value + 1) * 127.5);
  }

  /** A generator of numbers in [0, 1) (mulberry32). */
  function uniform(seed) {
    return () => {
      seed = seed + 0x6d2b79f5 | 0;
      let z = Math.imul(seed ^ seed >>> 15, seed | 1);
      z ^= z + Math.imul(z ^ z >>> 7, z | 61);
      return ((z ^ z >>> 14) >>> 0) / 2 ** 32;
    };
  }

  /** `n` standard normal numbers (Box and Muller). */
  function normal(n, random) {
    return Float32Array.from({length: n}, () =>
      Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()));
  }

  function element(name, properties = {}, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  }

  /** An element of SVG at the end of `plot`. */
  function svgPart(plot, name, properties, text = "") {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    Object.entries(properties).forEach(([key, value]) => made.setAttribute(key, value));
    made.textContent = text;
    plot.append(made);
    return made;
  }

  /** Do `work` once, as soon as any of the part is in view. */
  function seen(part, work) {
    new IntersectionObserver((entries, observer) => {
      if (!entries.some(({isIntersecting}) => isIntersecting)) return;
      observer.disconnect();
      work();
    }).observe(part);
  }

  /** The number in a field; an Error that names the field where it is out of range. */
  function numberIn(input, whole) {
    const value = input.valueAsNumber, {min, max} = input;
    if (!(value >= min && value <= max) || (whole && value % 1))
      throw new Error(`${input.parentNode.firstChild.textContent.trim()}: a ${whole ? "whole " : ""
        }number from ${min} to ${max} would be right`);
    return value;
  }

  /** Run `work`; what goes wrong becomes the one line of `status`. */
  async function told(status, work) {
    try {
      await work();
    } catch (error) {
      status.textContent = error.message[0].toUpperCase() + error.message.slice(1) + ".";
    }
  }

  return {SIDE, SIZE, give, load, bytesOf, hire, crewOf, once, show, toBytes, uniform, normal,
    element, svgPart, seen, numberIn, told};
})();
