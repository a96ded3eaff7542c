/* The digit UNet (models/digit_unet), and digits drawn by it with guidance (diffusion). */

const SIDE = 28, NULL_LABEL = 10;

/** (x (3, 28, 28), t, labels, w) -> outputs (3, 28, 28), one a label; w where it is an input. */
function digitUNet({architecture: {blocks, unfold, scaled, widths}}, tensors) {
  if (!scaled) throw new Error("a network with scaled=false cannot be drawn from here");
  const layer = layersOf(tensors);
  const frequencies = tensors["time.0.inv_freq"].data, label = tensors["label.weight"];
  const strength = [0, 1, 2].map(i => layer[`guidance.${i}`]); // of a student

  function conditions(t, labels, w) { // (n, 1, 1, e)
    const time = silu(convolve(sinusoids(t, frequencies), layer["time.1"]));
    const timeOut = convolve(time, layer.time_out), [first, , last] = strength;
    if (first) add(convolve(silu(convolve(put([w]), first)), last), timeOut);
    const width = label.shape[1], out = floats(timeOut);
    const sums = new Float32Array(labels.length * width).map((_, i) =>
      out[i % width] + label.data[labels[Math.floor(i / width)] * width + i % width]);
    return silu(put(sums, labels.length, 1, 1, width));
  }

  function block(x, name, condition) {
    const h = convolve(groupNorm(x, layer[`${name}.norm1`]), layer[`${name}.conv1`]);
    condition = convolve(condition, layer[`${name}.condition`]);
    const y = convolve(groupNorm(h, layer[`${name}.norm2`], {condition}), layer[`${name}.conv2`]);
    return add(layer[`${name}.skip`] ? convolve(x, layer[`${name}.skip`]) : x, y);
  }

  function forward(image, t, labels, w) {
    const condition = conditions(t, labels, w), skips = [], [n1, n2] = blocks;
    let x = pixelUnshuffle(image, labels.length, COLOURS, SIDE, unfold);
    x = convolve(framed(x, 1), layer.first);
    for (let i = 0; i < n1; i++) skips.push(x = block(x, `down14.${i}`, condition));
    x = convolve(framed(x, 1), layer.shrink, 2);
    for (let i = 0; i < n2; i++) skips.push(x = block(x, `down7.${i}`, condition));
    const qkv = convolve(groupNorm(x, layer["attention.norm"], {pad: 0, silu: false}),
      layer["attention.qkv"]);
    x = add(x, convolve(attend(qkv, 4), layer["attention.out"]));
    x = block(x, "middle", condition);
    for (let i = 0; i < n2; i++) x = block(concatenate(x, skips.pop()), `up7.${i}`, condition);
    x = pixelShuffle(convolve(x, layer.grow), 2, widths[0]);
    for (let i = 0; i < n1; i++) x = block(concatenate(x, skips.pop()), `up14.${i}`, condition);
    return pixelShuffle(convolve(groupNorm(x, layer.norm), layer.last), unfold, COLOURS);
  }

  return (image, t, labels, w) => scratch(() => imagesOf(forward(image, t, labels, w)));
}

/** x_t, t -> v, guided: (1 + w) conditional - w unconditional. */
function guided(network, label, w) {
  return (x, t) => {
    const [conditional, unconditional] = network(x, t, w === 0 ? [label] : [label, NULL_LABEL]);
    return conditional.map((c, i) => w === 0 ? c : (1 + w) * c - w * unconditional[i]);
  };
}

/** Draw one digit; `onStep` sees {t, x, x0} before every step. Returns x (3, 28, 28). The solver
    "student" is DDIM with a network that reads w: one evaluation a step, nothing clipped. */
function draw({name, alphaBar, noise, label, w, steps, solver}, onStep) {
  const network = networks[name], student = solver === "student";
  const predict = student ? (x, t) => network(x, t, [label], w)[0] : guided(network, label, w);
  const times = timeSteps(alphaBar.length, steps);
  let x = noise, before = null;
  times.forEach((t, i) => {
    const ab = alphaBar[t], abNext = i + 1 < steps ? alphaBar[times[i + 1]] : 1;
    const found = estimates(x, predict(x, t), ab, student ? Infinity : 1);
    onStep({t, x, x0: found.x0});
    x = solver === "dpmpp" ? dpmppStep(x, found, before, ab, abNext)
      : ddimStep(found, ab, abNext, 0);
    before = {ab, x0: found.x0};
  });
  return x;
}
