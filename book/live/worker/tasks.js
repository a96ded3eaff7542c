/* What the page asks for: {id, task, ...} is answered by {id, result} or {id, error}, and before
   that by one {id, step} for each step of a sampler. Images are float32 or uint8, (3, H, W). */

function read({name, pixels}) {
  return networks[name](pixels);
}

const TASKS = {setup, weights, draw, drawFace, asDigit, read};

onmessage = async ({data: {id, task, ...rest}}) => {
  try {
    postMessage({id, result: await TASKS[task](rest, step => postMessage({id, step}))});
  } catch (error) {
    postMessage({id, error: error.message});
  }
};
