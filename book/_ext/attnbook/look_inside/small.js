"use strict";
// The small view: one picture, where the class token attends, and both networks' first answers.

const TOP = 4; // classes in the table
const state = {image: data.pictures[0].name, token: 0, layer: LAYERS, map: "mean", stretched: true, erased: new Set()};
const networks = answering(state, recordedAnswer(), "Run it live", openPicture, show);

async function openPicture(name) {
  networks.picture = await readPicture(pictureNamed(name).file);
}

/** Change the state and show it; only other pixels need the networks. */
function act(change) {
  if ("erase" in change) {
    state.erased = new Set(state.erased);
    if (change.on) state.erased.add(change.erase);
    else state.erased.delete(change.erase);
  } else {
    Object.assign(state, change);
  }
  if ("image" in change) networks.picture = null;
  show();
  if ("image" in change || "erase" in change || "erased" in change) networks.compute();
}

const canvas = mapCanvas(288), stroke = erasingStroke(act);
const grid = patchGrid(canvas, (patch, first) => stroke(patch, first, state.erased));
const pictures = pictureChoice(image => act({image, erased: new Set()}));
const credit = element("p", {class: "look-note"});
const maps = choice("Map", MAPS.slice(-2), map => act({map}));
const layer = element("input", {type: "range", min: 1, max: LAYERS, "aria-label": "Layer", input: () => act({layer: Number(layer.value)})}), layerShown = element("output", {});
const bars = barsTable([STUDENT], TOP), told = element("p", {role: "status", class: "look-told"}), said = element("p", {role: "status", class: "look-note look-said"});
const back = element("button", {type: "button", click: () => act({erased: new Set()})}, "Put all back");
const more = element("a", {}, "Look inside at this view");

function show() {
  const {answer, whole} = networks;
  more.href = `${data.page}${addressOf(state)}`;
  pictures.check(state.image);
  tell(credit, creditOf(pictureNamed(state.image)));
  maps.check(state.map);
  layer.value = state.layer;
  tell(layerShown, `${state.layer} of ${LAYERS}`);
  back.disabled = !state.erased.size;
  if (!answer) return;
  const row = mapRow(answer, state), patches = row.subarray(PREFIX), most = largest(patches);
  paint(canvas, answer.pixels, patches, scaleOf(row, true), state.erased);
  grid.mark(patch => ({"is-most": [patch === most, "attended to most"], "is-erased": [state.erased.has(patch), "erased"]}));
  bars.show([answer.logits, answer.teacher], answer.erased.size ? [whole.logits, whole.teacher] : null);
  tell(told, answerSentence(answer));
  tell(said, mapSentence(row, state));
}

const live = element("section", {class: "look-live", "aria-label": "Two networks look at a picture"},
  element("div", {}, grid.node, element("p", {class: "look-note"}, "Orange: where the class token looks. Click patches, or draw across them, to erase them."), pictures.set, credit),
  element("div", {}, told, bars.node, element("div", {}, element("label", {class: "look-layer"}, "Layer ", layer, " ", layerShown), maps.set), said,
    element("div", {class: "look-buttons"}, back, networks.node), element("p", {}, more)));
figure.querySelector(".look-static").before(live);
figure.classList.add("is-live");
show();
if (!networks.answer) networks.compute();
