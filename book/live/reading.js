"use strict";
/* A digit, read: pad, files, examples, changes, and the networks' bars. */
(() => {
  const {SIDE, SIZE, load, bytesOf, hire, once, show, uniform, normal, element, told} = hw2live;

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
    const line = (c, row, column) => taps.reduce((sum, [weight, right]) =>
      sum + weight * at(x, c, row, reflect(column + right)), 0);
    return ofAll((c, row, column) => taps.reduce((sum, [weight, down]) =>
      sum + weight * line(c, reflect(row + down), column), 0));
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
      for (const {file, weights} of networks) await ask("weights", {name: file, texts: [weights]});
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
    if (file.size > 5e7)
      throw new Error(`${file.name} has more than 50 MB; a smaller one would be right`);
    const image = await createImageBitmap(file).catch(() => {
      throw new Error(`${file.name} is no picture that this browser can read; ${right}`);
    });
    const {width, height} = image;
    if (width * height > 2.5e7)
      throw new Error(`${file.name} has ${width}x${height} pixels; `
        + "at most 25 million would be right");
    const context = element("canvas", {width, height}).getContext("2d");
    context.drawImage(image, 0, 0);
    return asDigit(context.getImageData(0, 0, width, height).data, width, height);
  }

  const live = document.getElementById("live-reading");
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

  /** Black ink on white paper, by mouse, finger or keys; `take` gets each stroke's digit. */
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
        `The pen is ${down ? "down" : "up"}, at ${pen.map(i => Math.round(i / 10)).join(", ")}.`;
      if (event.key === " " && !down) readPad();
    });
    live.querySelector("[name=clear]").addEventListener("click", () => (clear(), readPad()));
    clear();
  }

  Object.assign(hw2live, {read, asDigit, CHANGES});
})();
