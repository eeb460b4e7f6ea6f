// The networks at work beside the page, so that it never waits: loaded once, asked by name.
"use strict";

const networks = {};

onmessage = ({data: {id, name, header, bytes, pixels, quick}}) => {
  try {
    if (header) {
      networks[name] = createModel(header, bytes);
      postMessage({id});
      return;
    }
    const started = performance.now(), result = networks[name].forward(pixels, {quick});
    postMessage({id, result, milliseconds: performance.now() - started});
  } catch (fault) {
    postMessage({id, fault: String(fault)});
  }
};
