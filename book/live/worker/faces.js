/* The face UNet (models/face_unet), and faces drawn by it with DDIM. */

/** x (3, side, side), t -> its prediction, of the same shape. */
function faceUNet({size, architecture: {unfold, groups}}, tensors) {
  const layer = layersOf(tensors), frequencies = tensors["time.0.inv_freq"].data;
  const patch = COLOURS * unfold ** 2; // channels of a square of pixels

  function block(x, name, time) {
    const {[`${name}.conv1`]: conv1, [`${name}.skip`]: skip} = layer;
    const bias = add(conv1.bias, convolve(time, layer[`${name}.time.1`]));
    const h = convolve(groupNorm(x, layer[`${name}.norm1`], {groups}), {...conv1, bias});
    const y = convolve(groupNorm(h, layer[`${name}.norm2`], {groups}), layer[`${name}.conv2`]);
    return add(skip ? convolve(x, skip) : x, y);
  }

  function stage(x, name, time) {
    x = block(x, `${name}.resblocks`, time);
    const {[`${name}.attention.norm`]: norm, [`${name}.attention.qkv`]: qkv} = layer;
    if (!norm) return x;
    const y = attend(convolve(groupNorm(x, norm, {pad: 0, silu: false, groups}), qkv), 1);
    return add(x, convolve(y, layer[`${name}.attention.out`]));
  }

  /** Adds W(t) m to x, for the mean m (c) of the patches over all positions. */
  function addMean(x, patches, time) {
    const w = floats(convolve(time, layer["mean.matrix.1"])), values = floats(x);
    const sums = new Float64Array(patch);
    floats(patches).forEach((value, i) => sums[i % patch] += value / (x.h * x.w));
    const shift = sums.map((_, i) => sums.reduce((sum, m, j) => sum + w[i * patch + j] * m, 0));
    values.forEach((value, i) => values[i] = value + (shift[i % x.c] ?? 0));
  }

  function forward(image, t) {
    const hidden = silu(convolve(sinusoids(t, frequencies), layer["time.1"]));
    const time = silu(convolve(hidden, layer["time.3"])); // as all that read it want it
    const patches = pixelUnshuffle(image, 1, COLOURS, size, unfold);
    let x = convolve(framed(patches, 1), layer.down1), strided, grow;
    const skips = [x], has = name => `${name}.resblocks.norm1` in layer;
    for (let n = 2; (strided = layer[`down${n}.0`]) || has(`down${n}`); n++)
      skips.push(x = strided ? convolve(framed(x, 1), strided, 2) : stage(x, `down${n}`, time));
    x = stage(stage(x, "mid1", time), "mid2", time);
    for (let n = 1; (grow = layer[`up${n}.1`]) || has(`up${n}`); n++)
      x = grow ? convolve(framed(doubled(x), 1), grow)
        : stage(concatenate(x, skips.pop()), `up${n}`, time);
    x = convolve(groupNorm(x, layer["out.0"], {groups}), layer["out.2"]);
    if (layer["mean.matrix.1"]) addMean(x, patches, time);
    return pixelShuffle(x, unfold, COLOURS);
  }

  return (image, t) => scratch(() => imagesOf(forward(image, t))[0]);
}

/** Draw one face; `onStep` as in `draw`. The noise that eta > 0 adds is the page's, from `seed`. */
function drawFace({name, alphaBar, noise, steps, eta, seed}, onStep) {
  const times = leadingSteps(alphaBar.length, steps), random = uniform(seed);
  let x = noise;
  times.forEach((t, i) => {
    const found = estimates(x, networks[name](x, t), alphaBar[t]);
    onStep({t, x, x0: found.x0});
    x = ddimStep(found, alphaBar[t], alphaBar[times[i + 1] ?? 0], eta,
      () => normal(x.length, random));
  });
  return x;
}
