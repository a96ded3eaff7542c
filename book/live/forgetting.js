"use strict";
/* What eta forgets, as studies/ddim computes it; no network is needed. */
(() => {
  const {element, svgPart} = hw2live;

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
    const times = Array.from({length: steps}, (_, i) =>
      Math.min((steps - 1 - i) * stride + 1, last));
    let left = 1;
    return times.map((t, i) => {
      const next = times[i + 1] ?? 0;
      left *= 1 - eta ** 2 * (1 - alphaBar[t] / alphaBar[next]) / (1 - alphaBar[t]);
      return [next, left];
    });
  }

  const live = document.getElementById("live-forgetting");
  const slider = live.querySelector("input"), plot = live.querySelector("svg");
  const alphaBar = linearSchedule();
  const across = t => PLOT.right - (PLOT.right - PLOT.left) * t / 999;
  const up = share => PLOT.bottom - (PLOT.bottom - PLOT.top) * share;

  const part = (...what) => svgPart(plot, ...what);

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

  Object.assign(hw2live, {linearSchedule, leftOfTheStart});
})();
