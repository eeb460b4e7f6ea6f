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
  const ready = {}, come = {student: 0, teacher: 0}; // promises, and bytes that have come
  bar.hidden = true;

  /** The same promise each time, until it fails: then the next call tries again. */
  const once = (name, make) => (ready[name] ??= make().catch(fault => { delete ready[name]; throw fault; }));
  const student = () => once("student", async () => { await once("worker", startWorker); await loadNetwork("student", progress); });

  function progress(role, bytes) {
    come[role] = bytes;
    const all = come.student + come.teacher;
    bar.value = all * 4 / 3e6 / MEGABYTES;
    tell(loaded, `${(all * 4 / 3e6).toFixed(0)} of ${MEGABYTES.toFixed(0)} MB`);
  }

  /** Load both networks, the transformer first. */
  function load() {
    if (ready.both) return ready.both;
    start.hidden = true;
    bar.hidden = false;
    const both = once("both", async () => {
      await student();
      compute();
      await once("teacher", () => loadNetwork("teacher", progress));
    });
    both.then(() => {
      tell(loaded, "Both networks run in this page; nothing leaves your machine.");
      compute();
    }, fault => {
      start.hidden = false;
      tell(loaded, `The networks could not be loaded: ${fault.message}.`);
    }).finally(() => { bar.hidden = true; });
    return both;
  }

  /** Ask both networks about the picture, with and without what is erased, and show what comes. */
  const compute = latest(async () => {
    try {
      load();
      await student();
    } catch {
      return; // what went wrong is said beside the button
    }
    if (!now.picture) await open(state.image);
    const {pixels} = placePicture(now.picture, now.offset), {erased} = state, hasTeacher = await settled(ready.teacher);
    if (!now.whole?.q || now.whole.pixels.some((value, i) => value !== pixels[i])) {
      now.whole = {...await ask("student", pixels), pixels, erased: new Set(), teacher: null};
      if (!erased.size) { now.answer = now.whole; show(); }
    }
    if (hasTeacher) now.whole.teacher ??= (await ask("teacher", pixels, true)).logits;
    if (erased.size) {
      const less = erase(pixels, erased);
      const fresh = {...await ask("student", less), pixels: less, erased, teacher: null};
      if (hasTeacher) fresh.teacher = (await ask("teacher", less, true)).logits;
      now.answer = fresh;
    } else {
      now.answer = now.whole;
    }
    show();
  });

  const settled = promise => Promise.race([promise?.then(() => true, () => false) ?? false, new Promise(resolve => setTimeout(resolve, 0, false))]);

  // The answers before and after patches were erased; the picture in its own size, and where it is cropped.
  const now = {
    whole: recorded, answer: recorded, picture: null, offset: 0.5, load, compute,
    node: element("div", {class: "look-loading"}, start, bar, loaded),
    isStarted: () => Boolean(ready.both),
    /** Wait until both have answered about the picture that is chosen now. */
    answered: async () => { await load(); await compute(); },
  };
  return now;
}
