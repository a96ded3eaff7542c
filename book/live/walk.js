"use strict";
/* The walk between two noises: pre-computed faces under two sliders, and the norm of the noise.

   The sheet _static/faces-walk.jpg (benchmarks/face_sheet.py) and the norms are loaded when they
   are scrolled to. */
(() => {
  const {load, told, svgPart, seen} = hw2live;
  const PLOT = {left: 64, right: 430, top: 15, bottom: 150, low: 0.6, high: 1.05};

  const live = document.getElementById("live-walk"), plot = live.querySelector("svg");
  const [alpha, eta] = ["alpha", "eta"].map(name => document.getElementById("walk-" + name));
  const pictures = [...live.querySelectorAll("[data-way]")];
  const across = share => PLOT.left + (PLOT.right - PLOT.left) * share;
  const up = norm => PLOT.bottom - (PLOT.bottom - PLOT.top) * (norm - PLOT.low)
    / (PLOT.high - PLOT.low);
  let norms = null; // {slerp, lerp}, a share of the first noise's at alpha 0, .1, ..

  /** The norm on the arc and on the line, with a mark at the sliders' alpha. */
  function drawNorms(at) {
    plot.replaceChildren();
    for (const norm of [0.7, 0.8, 0.9, 1]) {
      svgPart(plot, "path", {class: "live-axis", d: `M${PLOT.left} ${up(norm)}H${PLOT.right}`});
      svgPart(plot, "text", {x: PLOT.left - 8, y: up(norm) + 5, "text-anchor": "end"},
        norm.toFixed(1));
    }
    for (const share of [0, 0.5, 1])
      svgPart(plot, "text", {x: across(share), y: PLOT.bottom + 25, "text-anchor": "middle"},
        `alpha = ${share}`);
    const lines = [["arc, and rescaled", norms.slerp], ["line", norms.lerp]];
    lines.forEach(([name, way], k) => {
      const d = way.map((norm, i) => `${across(i / 10).toFixed(1)} ${up(norm).toFixed(1)}`);
      svgPart(plot, "path", {class: `live-curve live-curve-${k}`, d: `M${d.join("L")}`});
      svgPart(plot, "circle", {class: `live-mark live-curve-${k}`, r: 6, cx: across(at / 10),
        cy: up(way[at])});
      svgPart(plot, "text", {x: PLOT.right + 10, y: up(k ? way[at] : 1) + 5},
        `${name}: ${way[at].toFixed(2)}`);
    });
    plot.setAttribute("aria-label", `Norm of the noise at alpha ${at / 10}, as a share of the `
      + `first noise's: ${norms.slerp[at].toFixed(2)} on the arc and on the rescaled line, ${
        norms.lerp[at].toFixed(2)} on the line`);
  }

  function update() {
    const texts = [(alpha.value / 10).toFixed(1), (eta.value / 4).toFixed(2)];
    [alpha, eta].forEach((slider, k) => {
      slider.nextElementSibling.value = texts[k];
      slider.setAttribute("aria-valuetext", texts[k]);
    });
    for (const picture of pictures) {
      const row = 5 * picture.dataset.way + Number(eta.value);
      picture.style.backgroundPosition = `${10 * alpha.value}% ${100 * row / 14}%`;
      const way = picture.nextElementSibling.textContent;
      picture.setAttribute("aria-label", `Face ${way}, alpha ${texts[0]}, eta ${texts[1]}`);
    }
    if (norms) drawNorms(Number(alpha.value));
  }

  alpha.addEventListener("input", update);
  eta.addEventListener("input", update);
  update();
  live.hidden = false;
  seen(live, () => told(live.querySelector("[role=status]"), async () => {
    live.classList.add("live-near");
    norms = await load("walk");
    update();
  }));
})();
