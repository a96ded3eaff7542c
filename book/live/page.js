"use strict";
/* The live page: forms, pictures and workers; what is computed stands in network.js.

   The page may be opened by double click, where a browser loads scripts and nothing else. So the
   models lie beside this file as scripts, made by _ext/hw2live.py, each of which calls
   hw2live.give(name, value); they are loaded when a button asks for them. */
var hw2live = (() => {
  const SIDE = 28, SIZE = 3 * SIDE * SIDE, GRID_NOISES = 10;
  const folder = new URL(".", document.currentScript.src);
  const given = {};

  function give(name, value) {
    given[name] = value;
  }

  /** The value that the script live/NAME.js gives, loaded at the first call. */
  function load(name) {
    if (name in given) return Promise.resolve(given[name]);
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = new URL(`${name}.js`, folder);
      script.onload = () => resolve(given[name]);
      script.onerror = () => reject(new Error(
        `live/${name}.js cannot be loaded; the folder live must lie beside this page`));
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

  // --- digits ------------------------------------------------------------------------------------

  const crew = once(async () => {
    const {file, weights} = await load("digits");
    const workers = Math.min(4, navigator.hardwareConcurrency || 2);
    return taskQueue(await Promise.all(Array.from({length: workers}, async () => {
      const ask = await hire();
      await ask("weights", {name: file, base64: weights});
      return ask;
    })));
  });

  /** Noise number k = 1, 2, ..: the report's for the columns of its grid, else the page's own. */
  function noise(k) {
    if (k > GRID_NOISES) return normal(SIZE, uniform(k));
    const all = new Float32Array(bytesOf(given.digits.noises).buffer);
    return all.slice((k - 1) * SIZE, k * SIZE);
  }

  /** {times, states, guesses} of a digit: one entry a step, and the picture itself at the end. */
  async function draw({label, noise: k, w, steps, solver}, onStep = () => {}, wanted = () => true) {
    const inTurn = await crew(), {file, alphaBar} = given.digits;
    const path = {times: [], states: [], guesses: []};
    function keep(t, x, x0) {
      path.times.push(t), path.states.push(x), path.guesses.push(x0);
      onStep(path);
    }
    await inTurn(async ask => {
      if (!wanted()) return;
      const x = await ask("draw", {name: file, alphaBar, noise: noise(k), label, w, steps, solver},
        step => keep(step.t, step.x, step.x0));
      keep(null, x, x);
    });
    return path;
  }

  function digitsPart(live) {
    const form = live.querySelector("form");
    const status = live.querySelector("[role=status]"), sets = live.querySelector(".live-sets");
    const scrub = live.querySelector(".live-scrub"), slider = scrub.querySelector("input");
    const [first, second] = form.querySelectorAll("fieldset");
    const still = matchMedia("(prefers-reduced-motion: reduce)");
    let shown = null, runs = 0;

    form.label.append(...[...Array(10).keys(), "all ten"].map(name => new Option(name, name)));
    second.innerHTML = first.innerHTML;
    second.querySelector("legend").textContent = "second setting";
    second.querySelector("[name=w]").value = 0;

    /** The number in a field; an Error that names the field where it is out of range. */
    function numberIn(input, whole) {
      const value = input.valueAsNumber, {min, max} = input;
      if (!(value >= min && value <= max) || (whole && value % 1))
        throw new Error(`${input.parentNode.firstChild.textContent.trim()}: a ${whole ? "whole " : ""
          }number from ${min} to ${max} would be right`);
      return value;
    }

    function settings() {
      return (form.compare.checked ? [first, second] : [first]).map(box => {
        const field = name => box.querySelector(`[name=${name}]`);
        return {w: numberIn(field("w"), false), steps: numberIn(field("steps"), true),
          solver: field("solver").value};
      });
    }

    function name({w, steps, solver}) {
      return `w = ${w}, ${steps} ${steps > 1 ? "steps" : "step"}, ${
        solver === "ddim" ? "DDIM" : "DPM-Solver++(2M)"}`;
    }

    function newSet(setting) {
      const canvases = ["the state", "the estimate"].map(what => {
        const canvas = element("canvas", {width: SIDE, height: SIDE});
        canvas.setAttribute("role", "img");
        return {canvas, caption: element("figcaption"), what};
      });
      sets.append(element("div", {className: "live-set"}, element("strong", {}, name(setting)),
        ...canvases.map(({canvas, caption}) => element("figure", {}, canvas, caption))));
      return {setting, canvases, paths: Array(shown.labels.length)};
    }

    function update() {
      const share = slider.value / slider.max, digits = shown.labels.join(", ");
      for (const {setting, canvases, paths} of shown.sets) {
        const wanted = Math.round(share * setting.steps);
        // a path that is not there yet shows nothing, one that is not yet so far its last state
        const at = paths.map(path => Math.min(wanted, path.states.length - 1));
        canvases.forEach(({canvas, caption, what}, which) => {
          const images = paths.map((path, n) =>
            toBytes((which ? path.guesses : path.states)[at[n]]));
          show(canvas, images, Math.min(5, images.length));
          const [n] = Object.keys(at), t = paths[n]?.times[at[n]];
          caption.textContent = n === undefined ? "" : t === null ? "the picture"
            : which ? "estimate of x₀" : `xₜ at t = ${t}`;
          canvas.setAttribute("aria-label", `Digit ${digits}, ${name(setting)}: ${what}, step ${
            at[n] ?? 0} of ${setting.steps}`);
        });
      }
      scrub.querySelector("output").value = `${slider.value} of ${slider.max}`;
    }

    async function drawAll() {
      const chosen = settings(), run = ++runs, wanted = () => run === runs;
      const all = form.label.value === "all ten";
      const labels = all ? [...Array(10).keys()] : [Number(form.label.value)];
      const k = numberIn(form.noise, true);
      status.textContent = "Loading the model.";
      await crew();
      if (!wanted()) return;
      status.textContent = "Drawing.";
      sets.replaceChildren();
      shown = {labels, noise: k};
      shown.sets = chosen.map(newSet);
      slider.max = slider.value = Math.max(...chosen.map(({steps}) => steps));
      scrub.hidden = false;
      const start = performance.now(), jobs = shown.sets.flatMap(set => labels.map((label, n) =>
        draw({label, noise: k, ...set.setting}, path => {
          if (!wanted()) return;
          set.paths[n] = path;
          if (path.times.at(-1) === null || !still.matches) update();
        }, wanted)));
      await Promise.all(jobs);
      if (!wanted()) return;
      update();
      form.save.disabled = false;
      status.textContent = `Drawn in ${((performance.now() - start) / 1000).toFixed(1)} seconds from ${
        k > GRID_NOISES ? "a noise of this page's own generator" : `the noise of the grid's column ${k}`}.`;
    }

    function save() {
      const {labels, noise: k, sets: drawn} = shown, canvas = element("canvas");
      show(canvas, drawn.flatMap(set => set.paths.map(path => toBytes(path.states.at(-1)))),
        labels.length);
      element("a", {href: canvas.toDataURL(), download: `digit-${
        labels.length > 1 ? "all" : labels[0]}-noise-${k}.png`}).click();
    }

    form.addEventListener("submit", event => {
      event.preventDefault();
      told(status, drawAll);
    });
    form.compare.addEventListener("change", () => second.hidden = !form.compare.checked);
    form.another.addEventListener("click", () => {
      form.noise.value = GRID_NOISES + 1 + Math.floor(9989 * Math.random());
      form.requestSubmit();
    });
    form.save.addEventListener("click", save);
    slider.addEventListener("input", update);
    live.hidden = false;
  }

  // --- adaptation --------------------------------------------------------------------------------

  const ofAll = work => Uint8ClampedArray.from({length: SIZE}, (_, i) => {
    const pixel = i % (SIDE * SIDE);
    return work(Math.floor(i / (SIDE * SIDE)), Math.floor(pixel / SIDE), pixel % SIDE);
  });
  const at = (x, c, row, column) => x[(c * SIDE + row) * SIDE + column];
  const reflect = i => i < 0 ? -i : i >= SIDE ? 2 * SIDE - 2 - i : i;

  /** Whether a pixel is far from the median of the frame, the colour of the paper. */
  function inkOf(x) {
    const edge = [0, 1, 2].map(c => {
      const values = Array.from({length: SIDE}, (_, i) => [at(x, c, 0, i), at(x, c, SIDE - 1, i),
        at(x, c, i, 0), at(x, c, i, SIDE - 1)]).flat().sort((a, b) => a - b);
      return values[values.length / 2];
    });
    return (row, column) => row >= 0 && row < SIDE && column >= 0 && column < SIDE
      && [0, 1, 2].reduce((sum, c) => sum + Math.abs(at(x, c, row, column) - edge[c]), 0) > 3 * 64;
  }

  /** The ink once more at either side, three pixels away, but nowhere touching the digit. */
  function neighbours(x) {
    const ink = inkOf(x), near = [-1, 0, 1].flatMap(a => [-1, 0, 1].map(b => [a, b]));
    const lines = [...Array(SIDE).keys()];
    const columns = lines.filter(column => lines.some(row => ink(row, column)));
    const distance = Math.min(18, columns.at(-1) - columns[0] + 4);
    return ofAll((c, row, column) => {
      const from = [column - distance, column + distance].find(other => ink(row, other));
      const touches = near.some(([a, b]) => ink(row + a, column + b));
      return at(x, c, row, from === undefined || touches ? column : from);
    });
  }

  /** MNIST-M's recipe over shades at several scales: p on the paper, 255 - p on the ink. */
  function photograph(x) {
    const ink = inkOf(x), random = uniform(3), layers = [3, 5, 9, 15].map(cells => {
      const grey = normal(cells * cells, random), tint = normal(3 * cells * cells, random);
      return (c, row, column) => {
        const [y, z] = [row, column].map(i => i * (cells - 1) / (SIDE - 1));
        const [top, left] = [y, z].map(i => Math.min(cells - 2, Math.floor(i)));
        const value = (a, b) => grey[a * cells + b] + 0.3 * tint[(c * cells + a) * cells + b];
        const line = a => value(a, left) * (left + 1 - z) + value(a, left + 1) * (z - left);
        return line(top) * (top + 1 - y) + line(top + 1) * (y - top);
      };
    });
    return ofAll((c, row, column) => {
      const shade = layers.reduce((sum, layer) => sum + layer(c, row, column), 0);
      const p = Math.min(255, Math.max(0, 80 + 22 * shade));
      return ink(row, column) ? 255 - p : p;
    });
  }

  /** The binomial filter of `augment.smooth`, two pixels apart. */
  function blurred(x) {
    const taps = [1, 4, 6, 4, 1].map((weight, i) => [weight / 16, 2 * (i - 2)]);
    return ofAll((c, row, column) => taps.reduce((sum, [a, down]) => sum + a * taps.reduce(
      (line, [b, right]) => line + b * at(x, c, reflect(row + down), reflect(column + right)), 0), 0));
  }

  function inverted(x) {
    return x.map(value => 255 - value);
  }

  const CHANGES = {neighbours, photograph, blurred, inverted}; // in this order

  const readingWorker = once(hire);
  const readers = {}; // target -> a promise of its networks' [{file, title}]

  function networksOf(target) {
    return (readers[target] ??= once(async () => {
      const [ask, networks] = [await readingWorker(), await load(`readers-${target}`)];
      for (const {file, weights} of networks) await ask("weights", {name: file, base64: weights});
      return networks;
    }))();
  }

  /** [{title, probabilities}] of uint8 pixels (3, 28, 28), by all networks of a target. */
  async function read(target, pixels) {
    const networks = await networksOf(target), ask = await readingWorker();
    return Promise.all(networks.map(async ({file, title}) =>
      ({title, probabilities: await ask("read", {name: file, pixels})})));
  }

  /** uint8 (3, 28, 28) of RGBA pixels of any size. */
  async function asDigit(rgba, width, height) {
    return (await readingWorker())("asDigit", {rgba, width, height});
  }

  /** The same of a file; an Error in a line for what is no picture, empty or too large. */
  async function digitOf(file) {
    const right = "a PNG or JPEG file would be right";
    if (!file.size) throw new Error(`${file.name} is empty; ${right}`);
    if (file.size > 5e7) throw new Error(`${file.name} has more than 50 MB; a smaller one would be right`);
    const image = await createImageBitmap(file).catch(() => {
      throw new Error(`${file.name} is no picture that this browser can read; ${right}`);
    });
    const {width, height} = image;
    if (width * height > 2.5e7)
      throw new Error(`${file.name} has ${width}x${height} pixels; at most 25 million would be right`);
    const context = element("canvas", {width, height}).getContext("2d");
    context.drawImage(image, 0, 0);
    return asDigit(context.getImageData(0, 0, width, height).data, width, height);
  }

  function readingPart(live) {
    const field = name => live.querySelector(`[name=${name}]`);
    const status = live.querySelector("[role=status]"), bars = live.querySelector(".live-bars");
    const seen = live.querySelector(".live-seen"), examples = live.querySelector(".live-examples");
    let digit = null, runs = 0;

    async function readShown() {
      const run = ++runs;
      if (!digit || digit.every((value, i) => value === digit[i - i % (SIDE * SIDE)])) {
        bars.replaceChildren();
        throw new Error("there is nothing to read yet; draw a digit, or choose one");
      }
      const start = performance.now(), found = await read(field("target").value, digitShown());
      if (run !== runs) return;
      const took = Math.max(1, Math.round(performance.now() - start));
      bars.replaceChildren(...found.map(barsOf));
      status.textContent = found.map(({title, probabilities}) =>
        `${title} reads ${probabilities.indexOf(Math.max(...probabilities))}`).join("; ")
        + `; ${took} milliseconds.`;
    }

    function digitShown() {
      const chosen = Object.keys(CHANGES).filter(name => field(name).checked);
      const changed = chosen.reduce((x, name) => CHANGES[name](x), digit);
      show(seen, [changed]);
      return changed;
    }

    function barsOf({title, probabilities}) {
      const lines = [...probabilities].map((p, n) => {
        const bar = element("span");
        bar.style.width = `${100 * p}%`;
        return element("li", {}, String(n), bar, element("output", {}, `${(100 * p).toFixed(1)} %`));
      });
      return element("div", {}, element("strong", {}, title), element("ol", {}, ...lines));
    }

    async function showExamples() {
      const all = await load("examples");
      const images = all[field("target").value].map(bytesOf);
      examples.replaceChildren(...images.map((image, n) => {
        const button = element("button", {type: "button"}, element("canvas"));
        button.setAttribute("aria-label", `example ${n}`);
        show(button.firstChild, [image]);
        button.addEventListener("click", () => take(() => image));
        return button;
      }));
    }

    /** Read the digit that `make` gives or promises. */
    function take(make) {
      return told(status, async () => {
        digit = await make();
        await readShown();
      });
    }

    async function start() {
      status.textContent = "Loading the networks.";
      await Promise.all([networksOf(field("target").value), showExamples()]);
      field("start").hidden = true;
      live.querySelector(".live-all").hidden = false;
      status.textContent = "";
      field("target").focus({preventScroll: true}); // the button, which had the focus, is gone
      drawingPad(live, take);
    }

    field("start").addEventListener("click", () => told(status, start));
    field("target").addEventListener("change", () => told(status, async () => {
      await showExamples();
      await readShown();
    }));
    Object.keys(CHANGES).forEach(name =>
      field(name).addEventListener("change", () => told(status, readShown)));
    field("file").addEventListener("change", ({target: {files}}) =>
      files.length && take(() => digitOf(files[0])));
    live.addEventListener("dragover", event => event.preventDefault());
    live.addEventListener("drop", event => {
      event.preventDefault();
      const [file] = event.dataTransfer.files;
      take(() => file ? digitOf(file) : Promise.reject(new Error("what was dropped is no file")));
    });
    live.hidden = false;
  }

  /** Black ink on white paper, by mouse, finger or keys; `take` gets the digit after each stroke. */
  function drawingPad(live, take) {
    const pad = live.querySelector(".live-pad"), {width, height} = pad;
    const context = pad.getContext("2d", {willReadFrequently: true});
    let pen = [width / 2, height / 2], down = false;

    function clear() {
      context.fillStyle = "#fff";
      context.fillRect(0, 0, width, height);
    }

    function moveTo(x, y) {
      const inside = [Math.max(0, Math.min(width, x)), Math.max(0, Math.min(height, y))];
      if (down) {
        Object.assign(context, {lineWidth: 24, lineCap: "round", strokeStyle: "#000"});
        context.beginPath();
        context.moveTo(...pen);
        context.lineTo(...inside);
        context.stroke();
      }
      pen = inside;
    }

    function readPad() {
      take(() => asDigit(context.getImageData(0, 0, width, height).data, width, height));
    }

    const place = event => [event.offsetX * width / pad.clientWidth,
      event.offsetY * height / pad.clientHeight];
    pad.addEventListener("pointerdown", event => {
      pad.setPointerCapture(event.pointerId);
      pen = place(event);
      down = true;
      moveTo(...pen);
    });
    pad.addEventListener("pointermove", event => down && event.buttons && moveTo(...place(event)));
    pad.addEventListener("pointerup", () => (down = false, readPad()));
    pad.addEventListener("keydown", event => {
      const step = {ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10],
        " ": [0, 0]}[event.key];
      if (!step) return;
      event.preventDefault();
      if (event.key === " ") down = !down;
      moveTo(pen[0] + step[0], pen[1] + step[1]);
      live.querySelector("[role=status]").textContent =
        `The pen is ${down ? "down" : "up"}, at ${Math.round(pen[0] / 10)}, ${Math.round(pen[1] / 10)}.`;
      if (event.key === " " && !down) readPad();
    });
    live.querySelector("[name=clear]").addEventListener("click", () => (clear(), readPad()));
    clear();
  }

  // --- what eta forgets (studies/ddim): no network -----------------------------------------------

  const CURVES = [10, 50, 250, 1000]; // steps
  const PLOT = {left: 64, right: 580, top: 15, bottom: 260};

  /** alpha_bar of the faces' linear schedule: beta from 1e-4 to 0.02 in 1,000 steps. */
  function linearSchedule() {
    let product = 1;
    return Array.from({length: 1000}, (_, t) => product *= 1 - (1e-4 + (2e-2 - 1e-4) * t / 999));
  }

  /** [[t, share]]: of the noise at the time t that a step leads to, how much is still the first. */
  function leftOfTheStart(alphaBar, steps, eta) {
    const stride = Math.floor(alphaBar.length / steps), last = alphaBar.length - 1;
    const times = Array.from({length: steps}, (_, i) => Math.min((steps - 1 - i) * stride + 1, last));
    let left = 1;
    return times.map((t, i) => {
      const next = times[i + 1] ?? 0;
      left *= 1 - eta ** 2 * (1 - alphaBar[t] / alphaBar[next]) / (1 - alphaBar[t]);
      return [next, left];
    });
  }

  function forgettingPart(live) {
    const slider = live.querySelector("input"), plot = live.querySelector("svg");
    const alphaBar = linearSchedule();
    const across = t => PLOT.right - (PLOT.right - PLOT.left) * t / 999;
    const up = share => PLOT.bottom - (PLOT.bottom - PLOT.top) * share;

    function part(name, properties, text = "") {
      const made = document.createElementNS("http://www.w3.org/2000/svg", name);
      Object.entries(properties).forEach(([key, value]) => made.setAttribute(key, value));
      made.textContent = text;
      plot.append(made);
    }

    function axes() {
      for (const share of [0, 0.5, 1]) {
        part("path", {class: "live-axis", d: `M${PLOT.left} ${up(share)}H${PLOT.right}`});
        part("text", {x: PLOT.left - 8, y: up(share) + 5, "text-anchor": "end"}, `${100 * share} %`);
      }
      for (const t of [999, 500, 0])
        part("text", {x: across(t), y: PLOT.bottom + 20, "text-anchor": "middle"}, `t = ${t}`);
    }

    function update() {
      const eta = Number(slider.value);
      plot.replaceChildren();
      axes();
      const ends = CURVES.map((steps, k) => {
        const points = [[999, 1], ...leftOfTheStart(alphaBar, steps, eta).slice(0, -1)];
        const d = points.map(([t, share]) => `${across(t).toFixed(1)} ${up(share).toFixed(1)}`);
        part("path", {class: `live-curve live-curve-${k}`, d: `M${d.join("L")}`});
        return `${steps} steps: ${(100 * points.at(-1)[1]).toFixed(1)} %`;
      });
      slider.nextElementSibling.value = eta.toFixed(2);
      live.querySelector(".live-left").replaceChildren("left before the last step: ",
        ...ends.map((end, k) => element("span", {className: `live-key live-curve-${k}`}, end)));
      plot.setAttribute("aria-label", `At eta ${eta}, left of the first noise: ${ends.join("; ")}`);
    }

    slider.addEventListener("input", update);
    update();
    live.hidden = false;
  }

  digitsPart(document.getElementById("live-digits"));
  readingPart(document.getElementById("live-reading"));
  forgettingPart(document.getElementById("live-forgetting"));
  return {give, draw, read, asDigit, toBytes, linearSchedule, leftOfTheStart};
})();
