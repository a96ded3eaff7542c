"use strict";
/* A face between two noises: form, pictures and slider of the face model. */
(() => {
  const {load, bytesOf, crewOf, show, toBytes, uniform, normal, element, told, numberIn} = hw2live;
  const SIZE = 3 * 64 * 64, SHIPPED = 4; // noises of the report, 00 to 03
  const WAYS = [["slerp", "on the arc (slerp)"], ["lerp", "on the line (lerp)"],
    ["rescaled", "on the line, rescaled"]];
  const crew = crewOf("faces");

  const normOf = x => Math.sqrt(x.reduce((sum, value) => sum + value * value, 0));

  /** Noise number k = 0, 1, ..: the report's 00 to 03, else of the page's own generator. */
  function noise(k, noises) {
    if (k >= SHIPPED) return normal(SIZE, uniform(k));
    return new Float32Array(bytesOf(noises).buffer).slice(k * SIZE, (k + 1) * SIZE);
  }

  /** The point alpha on a way from a to b (interpolation). */
  function between(a, b, alpha, way) {
    const dot = a.reduce((sum, value, i) => sum + value * b[i], 0);
    const theta = Math.acos(Math.min(1, Math.max(-1, dot / normOf(a) / normOf(b))));
    const mix = (left, right) => a.map((value, i) => left * value + right * b[i]);
    const line = mix(1 - alpha, alpha);
    if (way === "lerp" || theta < 1e-3) return line; // the same noise twice
    const arc = mix(...[1 - alpha, alpha].map(part => Math.sin(part * theta) / Math.sin(theta)));
    if (way === "slerp") return arc;
    const factor = normOf(arc) / normOf(line);
    return line.map(value => value * factor);
  }

  /** {times, states, guesses, norm} of a face, as `draw` of digits.js; norm is a share of a's. */
  async function drawFace({from, to, alpha, way, eta, steps}, onStep = () => {},
    wanted = () => true) {
    const inTurn = await crew(), {file, alphaBar, noises} = await load("faces");
    const [a, b] = [from, to].map(k => noise(k, noises)), x = between(a, b, alpha, way);
    const path = {times: [], states: [], guesses: [], norm: normOf(x) / normOf(a)};
    function keep(t, x, x0) {
      path.times.push(t), path.states.push(x), path.guesses.push(x0);
      onStep(path);
    }
    await inTurn(async ask => {
      if (!wanted()) return;
      const needs = {name: file, alphaBar, noise: x, eta, steps, seed: from};
      const face = await ask("drawFace", needs, step => keep(step.t, step.x, step.x0));
      keep(null, face, face);
    });
    return path;
  }

  const live = document.getElementById("live-faces"), form = live.querySelector("form");
  const status = live.querySelector("[role=status]"), ways = live.querySelector(".live-ways");
  const scrub = live.querySelector(".live-scrub"), slider = scrub.querySelector("input");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let shown = [], runs = 0;

  function newWay([way, title], settings) {
    const pictures = ["state", "estimate"].map(() => element("canvas"));
    pictures.forEach(canvas => canvas.setAttribute("role", "img"));
    const norm = element("span"), caption = element("figcaption", {}, title, norm);
    ways.append(element("figure", {}, ...pictures, caption));
    return {title, norm, pictures, path: null, settings: {...settings, way}};
  }

  function update() {
    const at = Number(slider.value);
    for (const {title, norm, pictures, path, settings} of shown) {
      if (!path) continue;
      const n = Math.min(at, path.states.length - 1), t = path.times[n];
      norm.textContent = `, norm ${path.norm.toFixed(2)}`;
      [path.states, path.guesses].forEach((images, which) => {
        show(pictures[which], [toBytes(images[n])]);
        pictures[which].setAttribute("aria-label", `Face ${title}, alpha ${settings.alpha}: ${
          t === null ? "the picture" : which ? `estimate at t = ${t}` : `the state at t = ${t}`}`);
      });
    }
    scrub.querySelector("output").value = `${at} of ${slider.max}`;
  }

  async function drawAll() {
    const whole = name => numberIn(form[name], true), run = ++runs, wanted = () => run === runs;
    const settings = {from: whole("from"), to: whole("to"), steps: whole("steps"),
      alpha: numberIn(form.alpha), eta: numberIn(form.eta)};
    status.textContent = "Loading the model.";
    await crew();
    if (!wanted()) return;
    status.textContent = "Drawing.";
    ways.replaceChildren();
    shown = WAYS.map(way => newWay(way, settings));
    slider.max = slider.value = settings.steps;
    scrub.hidden = false;
    const start = performance.now();
    await Promise.all(shown.map(one => drawFace(one.settings, path => {
      one.path = path;
      if (wanted() && (path.times.at(-1) === null || !still.matches)) update();
    }, wanted)));
    if (!wanted()) return;
    form.save.disabled = false;
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    const own = Math.max(settings.from, settings.to) >= SHIPPED || settings.eta > 0;
    status.textContent = `Three faces in ${seconds} seconds${
      own ? "; some of the noise is of this page's own generator" : " from the report's noises"}.`;
  }

  function save() {
    const canvas = element("canvas"), [{settings: {from, to, alpha}}] = shown;
    show(canvas, shown.map(({path}) => toBytes(path.states.at(-1))), shown.length);
    element("a", {href: canvas.toDataURL(), download: `face-${from}-${to}-alpha-${alpha}.png`})
      .click();
  }

  form.addEventListener("submit", event => {
    event.preventDefault();
    told(status, drawAll);
  });
  form.save.addEventListener("click", save);
  slider.addEventListener("input", update);
  live.hidden = false;

  Object.assign(hw2live, {drawFace});
})();
