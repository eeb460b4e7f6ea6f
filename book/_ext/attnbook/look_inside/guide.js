"use strict";
// Six short steps: each sets the page and asks one question. Then the page is the reader's.

const last = LAYERS, quarter = Math.round(PATCHES / 4);
const STEPS = [
  {ask: "Can you still tell what it is?", see: `This is all that ${STUDENT} gets: ${PATCHES} patches of ${PATCH} \u00d7 ${PATCH} pixels, each a token, and ${PREFIX === 1 ? "a class token" : "two tokens without a patch, class and distillation"} that ${PREFIX === 1 ? "reads" : "read"} the answer out.`,
    set: {plain: true, layer: last, map: "mean", token: 0}, panels: ["picture", "bars"]},
  {ask: "Which patch does the class token look at in layer 1?", see: "The white dot marks the strongest patch; the sentence under the picture says how strong it is. Is one patch above the others at all?",
    set: {plain: false, layer: 1, map: "mean", token: 0}, panels: ["picture", "maps"]},
  {ask: `And in layer ${last}?`, see: "Move the layer back and forth. Then ask a patch in place of the class token: does it look where the class token looks?",
    set: {plain: false, layer: last, map: "mean", token: 0}, panels: ["picture", "maps"]},
  {ask: "When does the answer arise?", see: "The strip shows what each head would say if the network stopped there. Look for the layer after which the answer stays.",
    set: {plain: false, layer: Math.ceil(last / 2), map: "mean", token: 0}, panels: ["lens", "picture"]},
  {ask: PREFIX > 1 ? "Does the distillation token agree with the class token, or with the teacher?" : "Does the network agree with its teacher?", see: `The bars compare them, class by class. Of ${TEACHER} the transformer has learned by its answers alone.`,
    set: {plain: false, layer: last, map: "mean", token: PREFIX - 1}, panels: ["bars", "picture"]},
  {ask: "Does the map show what mattered?", see: `Draw the curve for the brightest patches, then in random order. If the map is right, the answer falls sooner when the brightest ${quarter} go than when any ${quarter} go.`,
    set: {plain: false, layer: last, map: "rollout", token: 0}, panels: ["experiment", "bars", "picture"]},
];

/** The bar above the views; `go(step)` sets the page, 0 is free. */
function guideBar(go) {
  const title = element("h2", {class: "look-title", id: "look-guide"}), see = element("p", {});
  const back = element("button", {type: "button", click: () => go(step - 1)}, "Back");
  const next = element("button", {type: "button", click: () => go(step === STEPS.length ? 0 : step + 1)});
  const free = element("button", {type: "button", click: () => go(step ? 0 : 1)});
  let step = 0;
  const node = element("section", {class: "look-guide", "aria-labelledby": "look-guide"},
    element("div", {"aria-live": "polite"}, title, see), element("div", {class: "look-buttons"}, back, next, free));
  return {
    node,
    show({state}) {
      ({step} = state);
      const now = STEPS[step - 1];
      tell(title, now ? `${step} of ${STEPS.length}: ${now.ask}` : "Explore freely");
      tell(see, now ? now.see : "Choose any picture, ask any token, erase what you like. Everything is computed in this page.");
      back.hidden = next.hidden = !now;
      back.disabled = step === 1;
      tell(next, step === STEPS.length ? "Finish" : "Next");
      tell(free, now ? "Explore freely" : "Start the six steps");
      for (const each of figure.querySelectorAll(".look-panel")) each.classList.toggle("is-aside", Boolean(now) && !now.panels.includes(each.dataset.panel));
    },
  };
}
