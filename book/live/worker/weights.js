/* Weights files, and layers of them. */

const HALF = Float32Array.from({length: 65536}, (_, bits) => {
  const exponent = (bits >> 10) & 31, fraction = (bits & 1023) / 1024;
  const size = exponent ? (1 + fraction) * 2 ** (exponent - 15) : fraction * 2 ** -14;
  return bits >> 15 ? -size : size;
});

/** {header, tensors: name -> {shape, data}} of a safetensors file. */
function readWeights(bytes) {
  const size = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const {__metadata__: {config}, ...index} = JSON.parse(
    new TextDecoder().decode(bytes.subarray(8, 8 + size)));
  const tensors = {};
  for (const [name, {dtype, shape, data_offsets: [from, to]}] of Object.entries(index)) {
    const part = bytes.slice(8 + size + from, 8 + size + to).buffer;
    const halves = () => Float32Array.from(new Uint16Array(part), bits => HALF[bits]);
    tensors[name] = {shape, data: {F16: halves, F32: () => new Float32Array(part),
      I8: () => Float32Array.from(new Int8Array(part))}[dtype]()};
  }
  return {header: JSON.parse(config), tensors: scaled(tensors)};
}

/** Weights in whole numbers (O, ..) times NAME.scale (O,), where the file has one. */
function scaled(tensors) {
  for (const [name, {shape, data}] of Object.entries(tensors)) {
    const scale = tensors[`${name}.scale`]?.data, size = data.length / shape[0];
    if (scale) tensors[name].data = data.map((value, i) => value * scale[Math.floor(i / size)]);
  }
  return tensors;
}

/** name -> a layer for `convolve` or `groupNorm`, of all that has a weight. */
function layersOf(tensors) {
  const layers = {};
  for (const [key, {shape, data}] of Object.entries(tensors)) {
    const name = key.replace(/\.weight$/, ""), bias = tensors[`${name}.bias`]?.data;
    if (name === key) continue;
    layers[name] = shape.length > 1 ? packed(shape, data, bias)
      : {gamma: put(data), beta: put(bias)};
  }
  return layers;
}

/** Weights (O, C, K, K) as `conv` reads them, (O / 8, K, K, C, 8), O filled up with zeros. */
function packed([outputs, c, k = 1], data, bias = []) {
  const o = 8 * Math.ceil(outputs / 8), weight = tensor(1, k * k, c, o), to = floats(weight);
  to.fill(0);
  for (let i = 0, at = 0; i < outputs; i++)
    for (let j = 0; j < c; j++)
      for (let tap = 0; tap < k * k; tap++, at++)
        to[(((i >> 3) * k * k + tap) * c + j) * 8 + (i & 7)] = data[at];
  const filled = new Float32Array(o);
  filled.set(bias);
  return {weight, bias: put(filled), k, o};
}

const networks = {}; // name of a weights file -> a function

/** What zlib compressed. */
async function inflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Tensors of a file plus those of another, each of which may be missing in either. */
function sum(before, tensors) {
  for (const [name, {shape, data}] of Object.entries(tensors)) {
    const old = before[name]?.data;
    before[name] = {shape, data: old ? data.map((value, i) => value + old[i]) : data};
  }
  return before;
}

/** Make the network of a file, or of one and the differences to it that a second one holds. */
async function weights({name, texts}) {
  const files = [];
  for (const text of texts) files.push(readWeights(await inflated(bytesOf(text))));
  const {header} = files.at(-1), tensors = files.map(file => file.tensors).reduce(sum);
  const kinds = {digit_unet: digitUNet, face_unet: faceUNet, dann: reader};
  networks[name] = kinds[header.kind](header, tensors);
}
