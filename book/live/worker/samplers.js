/* What the samplers do between two calls of a network (diffusion, samplers). */

/** {x0, eps} of x_t by what the network says of v; x0 within [-limit, limit]. */
function estimates(x, v, ab, limit = 1) {
  const a = Math.sqrt(ab), s = Math.sqrt(1 - ab);
  return {x0: x.map((value, i) => Math.min(limit, Math.max(-limit, a * value - s * v[i]))),
    eps: x.map((value, i) => s * value + a * v[i])};
}

/** `steps` time steps, falling from T - 1; halves are rounded to even, as Python does. */
function timeSteps(total, steps) {
  return Array.from({length: steps}, (_, i) => {
    const exact = total * (steps - i) / steps, low = Math.floor(exact);
    return (exact - low === 0.5 ? low + low % 2 : Math.round(exact)) - 1;
  });
}

/** The faces' time steps, one above a multiple of a stride: 981, 961, .., 1 for 50 of 1000. */
function leadingSteps(total, steps) {
  const whole = Math.floor(total / steps), reaches = whole * steps >= 0.9 * total;
  return Array.from({length: steps}, (_, i) =>
    Math.min(Math.floor((steps - 1 - i) * (reaches ? whole : total / steps)) + 1, total - 1));
}

/** One step of DDIM; `noise` gives the fresh noise that eta > 0 asks for. */
function ddimStep({x0, eps}, ab, abNext, eta, noise) {
  const sigma = eta * Math.sqrt((1 - abNext) / (1 - ab) * (1 - ab / abNext));
  const a = Math.sqrt(abNext), s = Math.sqrt(Math.max(0, 1 - abNext - sigma ** 2));
  const z = eta > 0 ? noise() : new Float32Array(x0.length);
  return x0.map((value, i) => a * value + s * eps[i] + sigma * z[i]);
}

/** DPM-Solver++(2M), the formula above `dpmpp_step`; before: {ab, x0} one step earlier. */
function dpmppStep(x, {x0}, before, ab, abNext) {
  const halfLogSnr = p => Math.log(p / (1 - p)) / 2;
  const h = halfLogSnr(abNext) - halfLogSnr(ab);
  let d = x0;
  if (before && abNext < 1) {
    const r = (halfLogSnr(ab) - halfLogSnr(before.ab)) / h;
    d = x0.map((value, i) => value + 0.5 / r * (value - before.x0[i]));
  }
  const kept = Math.sqrt((1 - abNext) / (1 - ab)), gained = Math.sqrt(abNext) * -Math.expm1(-h);
  return x.map((value, i) => kept * value + gained * d[i]);
}
