"use strict";
/* What the parts of the live page share: loading, workers, pictures. What is computed for digits.js
   and reading.js stands in network.js, which runs in workers.

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

  function bytesOf(base64) {
    return Uint8Array.from(atob(base64), letter => letter.charCodeAt(0));
  }

  // --- workers -----------------------------------------------------------------------------------

  /** A function (task, what it needs, onStep) -> promise, answered by a worker of its own. */
  async function hire() {
    const {network, wasm} = await load("engine");
    if (!window.WebAssembly || !WebAssembly.validate(bytesOf(wasm)))
      throw new Error("this browser has no WebAssembly with SIMD; Chrome and Edge have it from "
        + "version 91 on, Firefox from 89, Safari from 16.4");
    const worker = new Worker(URL.createObjectURL(new Blob([network], {type: "text/javascript"})));
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

  // --- pictures ----------------------------------------------------------------------------------

  /** Show images, uint8 (3, 28, 28) each, in rows of `columns`. */
  function show(canvas, images, columns = 1) {
    canvas.width = SIDE * columns;
    canvas.height = SIDE * Math.ceil(images.length / columns);
    const context = canvas.getContext("2d");
    images.forEach((image, n) => {
      const picture = context.createImageData(SIDE, SIDE), pixels = SIDE * SIDE;
      for (let i = 0; i < pixels; i++)
        picture.data.set([image[i], image[i + pixels], image[i + 2 * pixels], 255], 4 * i);
      context.putImageData(picture, SIDE * (n % columns), SIDE * Math.floor(n / columns));
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

  /** Run `work`; what goes wrong becomes the one line of `status`. */
  async function told(status, work) {
    try {
      await work();
    } catch (error) {
      status.textContent = error.message[0].toUpperCase() + error.message.slice(1) + ".";
    }
  }

  return {SIDE, SIZE, give, load, bytesOf, hire, taskQueue, once, show, toBytes, uniform, normal,
    element, told};
})();
