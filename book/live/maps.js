"use strict";
/* Maps of features by t-SNE, made by benchmarks/feature_maps.py: the same points of each network,
   marked by digit or by domain. Loaded when they are scrolled to. */
(() => {
  const {load, element, svgPart, seen, told} = hw2live;
  const DIGITS = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8c564b",
    "#7f7f7f", "#bcbd22", "var(--pst-color-text-base, #222)"];
  const DOMAINS = [["●", "#0072b2"], ["▲", "#e69f00"]];
  const NAMES = {mnist: "MNIST", mnistm: "MNIST-M", svhn: "SVHN", usps: "USPS"};

  const live = document.getElementById("live-maps"), plot = live.querySelector("svg");
  const target = live.querySelector("[name=target]"), key = live.querySelector(".live-key-line");
  let all = null, points = [];

  /** Fill a fieldset with one choice a name, the first of them chosen. */
  function choices(name, names) {
    const box = live.querySelector(`fieldset[name=${name}]`);
    box.replaceChildren(box.firstElementChild, ...names.map((text, n) => element("label",
      {className: "live-tick"},
      element("input", {type: "radio", name: `live-${name}`, value: n, checked: n === 0}), text)));
  }

  function chosen(name) {
    return Number(live.querySelector(`[name=live-${name}]:checked`).value);
  }

  /** [mark, colour] of a point. */
  function markOf(one, i) {
    return chosen("by") ? DOMAINS[one.sides[i]] : [one.digits[i], DIGITS[one.digits[i]]];
  }

  function start() {
    const one = all[target.value];
    choices("network", one.maps.map(({title}) => title));
    plot.replaceChildren();
    points = one.digits.map(() => svgPart(plot, "text", {}));
    update();
  }

  function update() {
    const one = all[target.value], {title, places} = one.maps[chosen("network")];
    points.forEach((point, i) => {
      const [mark, colour] = markOf(one, i), [x, y] = places[i];
      Object.entries({x, y, fill: colour}).forEach(([name, value]) =>
        point.setAttribute(name, value));
      point.textContent = mark;
    });
    const names = one.domains.map(name => NAMES[name]), count = one.digits.length / 2;
    key.textContent = chosen("by")
      ? names.map((name, k) => `${DOMAINS[k][0]} ${name}`).join(", ") : "each point is its digit";
    plot.setAttribute("aria-label", `Map of the features of ${title}: ${count} test images of ${
      names.join(" and as many of ")}, marked by ${chosen("by") ? "domain" : "digit"}`);
  }

  async function begin() {
    all = await load("maps");
    target.append(...Object.keys(all).map(name => new Option(NAMES[name], name)));
    choices("by", ["digit", "domain"]);
    start();
  }

  target.addEventListener("change", start);
  live.addEventListener("change", event => event.target.type === "radio" && update());
  live.hidden = false;
  seen(live, () => told(live.querySelector("[role=status]"), begin));
})();
