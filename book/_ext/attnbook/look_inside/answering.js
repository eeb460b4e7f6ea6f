"use strict";
// Both networks at work on the chosen picture: loading them with a bar, and asking them.

/**
 * What both networks answer to the picture, whole and with patches erased, from `recorded` on.
 *
 * `state` holds the picture's name and the erased patches, `open(name)` sets `picture`, and
 * `show()` is called whenever an answer comes.
 */
function answering(state, recorded, words, open, show) {
  const bar = element("progress", {max: 1, value: 0, "aria-label": "Loading the networks"}), loaded = element("span", {role: "status"}, recorded ? "A recorded answer is shown." : "");
  const start = element("button", {type: "button", click: () => load()}, `${words} (${MEGABYTES.toFixed(0)} MB)`);
  const ready = {}; // promises of the networks, once they are asked for
  bar.hidden = true;

  /** Load both networks, the transformer first; the same promise each time. */
  function load() {
    if (ready.both) return ready.both;
    start.hidden = true;
    bar.hidden = false;
    let come = 0;
    const total = data.networks.student.bytes + data.networks.teacher.bytes;
    const progress = bytes => { come += bytes; bar.value = come / total; tell(loaded, `${(come * 4 / 3e6).toFixed(0)} of ${MEGABYTES.toFixed(0)} MB`); };
    ready.student = startWorker().then(() => loadNetwork("student", progress));
    ready.both = ready.student.then(() => loadNetwork("teacher", progress)).then(() => {
      bar.hidden = true;
      tell(loaded, "Both networks run in this page; nothing leaves your machine.");
    });
    ready.both.catch(fault => { bar.hidden = true; tell(loaded, `The networks could not be loaded: ${fault.message}.`); });
    ready.student.then(() => compute(), () => {});
    return ready.both;
  }

  /** Ask both networks about the picture, with and without what is erased, and show what comes. */
  const compute = latest(async () => {
    load();
    await ready.student;
    if (!now.picture) await open(state.image);
    const {pixels} = placePicture(now.picture, now.offset), {erased} = state;
    if (!now.whole?.q || now.whole.pixels.some((value, i) => value !== pixels[i])) {
      now.whole = {...await ask("student", pixels), pixels, erased: new Set(), teacher: null};
      if (!erased.size) { now.answer = now.whole; show(); }
      if (await settled(ready.both)) now.whole.teacher = (await ask("teacher", pixels, true)).logits;
      else ready.both.then(() => compute());
    } else if (!now.whole.teacher && await settled(ready.both)) {
      now.whole.teacher = (await ask("teacher", pixels, true)).logits;
    }
    if (erased.size) {
      const less = erase(pixels, erased);
      const fresh = {...await ask("student", less), pixels: less, erased, teacher: null};
      if (now.whole.teacher) fresh.teacher = (await ask("teacher", less, true)).logits;
      now.answer = fresh;
    } else {
      now.answer = now.whole;
    }
    show();
  });

  const settled = promise => Promise.race([promise.then(() => true), new Promise(resolve => setTimeout(resolve, 0, false))]);

  // The answers before and after patches were erased; the picture in its own size, and where it is cropped.
  const now = {
    whole: recorded, answer: recorded, picture: null, offset: 0.5, load, compute,
    node: element("div", {class: "look-loading"}, start, bar, loaded),
    isStarted: () => Boolean(ready.both),
  };
  return now;
}
