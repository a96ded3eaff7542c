"use strict";
/* A digit, step by step: form, pictures and slider of the digit model. */
(() => {
  const {SIDE, SIZE, load, bytesOf, crewOf, show, toBytes, uniform, normal, element, told,
    numberIn} = hw2live;
  const GRID_NOISES = 10;

  const STUDENT = "student"; // a solver, and the script of its network
  const crews = {digits: crewOf("digits"), [STUDENT]: crewOf(STUDENT)};
  const modelOf = ({solver}) => solver === STUDENT ? STUDENT : "digits";

  /** Noise number k = 1, 2, ..: the report's for the columns of its grid, else the page's own. */
  function noise(k, noises) {
    if (k > GRID_NOISES) return normal(SIZE, uniform(k));
    const all = new Float32Array(bytesOf(noises).buffer);
    return all.slice((k - 1) * SIZE, k * SIZE);
  }

  /** {times, states, guesses} of a digit: one entry a step, and the picture itself at the end. */
  async function draw({label, noise: k, w, steps, solver}, onStep = () => {}, wanted = () => true) {
    const model = modelOf({solver}), inTurn = await crews[model]();
    const {file, alphaBar, noises} = await load(model);
    const path = {times: [], states: [], guesses: []};
    function keep(t, x, x0) {
      path.times.push(t), path.states.push(x), path.guesses.push(x0);
      onStep(path);
    }
    await inTurn(async ask => {
      if (!wanted()) return;
      const needs = {name: file, alphaBar, noise: noise(k, noises), label, w, steps, solver};
      const x = await ask("draw", needs, step => keep(step.t, step.x, step.x0));
      keep(null, x, x);
    });
    return path;
  }

  const live = document.getElementById("live-digits");
  const form = live.querySelector("form");
  const status = live.querySelector("[role=status]"), sets = live.querySelector(".live-sets");
  const scrub = live.querySelector(".live-scrub"), slider = scrub.querySelector("input");
  const [first, second] = form.querySelectorAll("fieldset");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const {min, max} = first.querySelector("[name=w]"), RANGE = [min, max];
  let shown = null, runs = 0;

  form.label.append(...[...Array(10).keys(), "all ten"].map(name => new Option(name, name)));
  second.innerHTML = first.innerHTML;
  second.querySelector("legend").textContent = "second setting";
  second.querySelector("[name=w]").value = 0;

  /** A student has steps and a range of w of its own, which its option names. */
  function fit(box) {
    const [w, steps, solver] = ["w", "steps", "solver"].map(name =>
      box.querySelector(`[name=${name}]`));
    const own = solver.selectedOptions[0].dataset;
    if (own.steps || steps.disabled) steps.value = own.steps ?? steps.defaultValue;
    steps.disabled = "steps" in own;
    [w.min, w.max] = own.w ? [0, own.w] : RANGE;
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
      {ddim: "DDIM", dpmpp: "DPM-Solver++(2M)", [STUDENT]: "distilled"}[solver]}`;
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
    await Promise.all(chosen.map(setting => crews[modelOf(setting)]()));
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
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    const whose = k > GRID_NOISES ? "a noise of this page's own generator"
      : `the noise of the grid's column ${k}`;
    status.textContent = `Drawn in ${seconds} seconds from ${whose}.`;
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
  [first, second].forEach(box => box.addEventListener("change", () => fit(box)));
  form.compare.addEventListener("change", () => second.hidden = !form.compare.checked);
  form.another.addEventListener("click", () => {
    form.noise.value = GRID_NOISES + 1 + Math.floor(9989 * Math.random());
    form.requestSubmit();
  });
  form.save.addEventListener("click", save);
  slider.addEventListener("input", update);
  live.hidden = false;

  Object.assign(hw2live, {draw});
})();
