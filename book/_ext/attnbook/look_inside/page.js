"use strict";
// The page: its state, which the address holds, and what happens when something is touched.

const recorded = recordedAnswer();
const KEYS = ["image", "layer", "token", "map", "pair", "head", "erased", "step"];
const FIRST = {image: data.pictures[0].name, token: 0, layer: LAYERS, map: "mean", head: 1, step: 0,
  mode: "ask", key: null, stretched: true, plain: false, erased: new Set()};
const state = {...FIRST, ...readAddress()};

// The address ---------------------------------------------------------------------------------

/** State from `#image=cat&layer=3&token=distillation&map=mean&erased=3.4.5`; what makes no sense is left out. */
function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1)), isView = [...given.keys()].some(key => KEYS.includes(key));
  const number = (key, low, high) => { const value = Number(given.get(key)); return given.has(key) && Number.isInteger(value) && value >= low && value <= high ? value : null; };
  const step = number("step", 0, STEPS.length) ?? (isView ? 0 : 1); // another linked view is shown as it is
  const found = {step, ...(step ? STEPS[step - 1].set : {})};
  if (data.pictures.some(each => each.name === given.get("image"))) found.image = given.get("image");
  if (number("token", 1, PATCHES)) found.token = PREFIX + number("token", 1, PATCHES) - 1;
  if (["class", "distillation"].includes(given.get("token"))) found.token = Math.max(0, HEAD_NAMES.indexOf(given.get("token")));
  if (number("layer", 1, LAYERS)) found.layer = number("layer", 1, LAYERS);
  if (MAPS.some(([map]) => map === given.get("map"))) found.map = given.get("map");
  if (number("head", 1, HEADS)) found.head = number("head", 1, HEADS);
  if (Number(found.map)) found.head = Number(found.map);
  if (number("pair", 1, PATCHES)) found.key = PREFIX + number("pair", 1, PATCHES) - 1;
  const erased = (given.get("erased") ?? "").split(".").map(Number).filter(patch => patch >= 1 && patch <= PATCHES);
  if (erased.length) found.erased = new Set(erased.map(patch => patch - 1));
  return found;
}

function writeAddress() {
  try {
    history.replaceState(null, "", addressOf(state));
  } catch {
    clearTimeout(later); // some browsers allow a hundred changes in half a minute, and a stroke makes many
    later = setTimeout(writeAddress, 5000);
  }
}
let later = null;

const networks = answering(state, recorded, "Run the networks here", openGallery, show), {load, compute} = networks;

// What is done --------------------------------------------------------------------------------

/** Change the state and show it; only what changes the pixels is computed anew. */
function act(change) {
  const before = state.erased;
  if ("erase" in change) {
    const erased = new Set(state.erased);
    if (change.on) erased.add(change.erase);
    else erased.delete(change.erase);
    state.erased = erased;
  } else if ("pair" in change) {
    state.key = change.pair;
  } else {
    Object.assign(state, change);
    if (Number(change.map)) state.head = Number(change.map);
    if ("token" in change || "layer" in change || "map" in change) state.key = null;
  }
  load();
  show();
  writeAddress();
  if (state.erased !== before) compute();
}

function go(step) {
  Object.assign(state, {step, erased: new Set(), key: null}, step ? STEPS[step - 1].set : {plain: false});
  show();
  writeAddress();
  if (networks.isStarted()) compute();
}

function show() {
  const {answer, whole} = networks;
  if (!answer || !whole) return;
  const key = state.key ?? PREFIX + largest(mapRow(answer, {...state, map: state.map === "rollout" ? "mean" : state.map}).subarray(PREFIX));
  const view = {answer, whole, state: {...state, key}};
  for (const each of views) each.show(view);
  chooser.check(state.image);
}

// Pictures ------------------------------------------------------------------------------------

const fault = element("p", {role: "alert", class: "look-fault"}), cropped = element("div", {class: "look-crop"});

async function openGallery(name) {
  const found = pictureNamed(name);
  networks.picture = await readPicture(found.file);
  networks.offset = 0.5;
  showCrop();
  tell(credit, creditOf(found));
  return networks.picture;
}

let taken = 0;
/** Show another picture; `read` is a promise of it. */
async function take(name, read, title) {
  const turn = ++taken;
  tell(fault, "");
  try {
    const picture = await read;
    if (turn !== taken) return; // a large file that comes after the next choice
    networks.picture = picture;
  } catch (problem) {
    if (turn === taken) tell(fault, problem.message);
    return;
  }
  networks.offset = 0.5;
  tell(credit, title);
  Object.assign(state, {image: name, erased: new Set(), key: null});
  showCrop();
  writeAddress();
  compute();
}

const takeFile = file => take("own", readPicture(file), "your own picture, which stays on your machine");

/** The whole picture with a frame around what the networks see, and a slider if there is a choice. */
function showCrop() {
  const {picture} = networks, {width, height} = picture, scale = 72 / Math.max(width, height);
  const side = length => Math.max(1, Math.round(length * scale));
  const canvas = element("canvas", {width: side(width), height: side(height), "aria-hidden": "true"});
  const context = canvas.getContext("2d");
  const small = resize(picture, canvas.width, canvas.height), shown = context.createImageData(canvas.width, canvas.height);
  for (let i = 0; i < canvas.width * canvas.height; i++) shown.data.set([...small.data.subarray(3 * i, 3 * i + 3), 255], 4 * i);
  const frame = () => {
    const {frame: f} = placePicture(picture, networks.offset);
    context.putImageData(shown, 0, 0);
    for (const [colour, line] of [["#000", 3], ["#fff", 1]]) {
      Object.assign(context, {strokeStyle: colour, lineWidth: line});
      context.strokeRect(f.left * canvas.width + 1.5, f.top * canvas.height + 1.5, f.width * canvas.width - 3, f.height * canvas.height - 3);
    }
  };
  frame();
  const slider = element("input", {type: "range", min: 0, max: 100, value: 100 * networks.offset, "aria-label": "Where the picture is cropped",
    input: () => { networks.offset = slider.value / 100; frame(); compute(); }});
  cropped.replaceChildren(canvas, ...(Math.abs(width - height) > 1 ? [slider] : []));
}

const file = element("input", {type: "file", accept: "image/*", class: "look-hidden", tabindex: -1, "aria-hidden": "true",
  change: () => { if (file.files[0]) takeFile(file.files[0]); file.value = ""; }});
const button = (words, click) => element("button", {type: "button", click}, words);
const credit = element("p", {class: "look-note"}, creditOf(data.pictures[0]));
const chooser = pictureChoice(name => { const found = pictureNamed(name); take(name, readPicture(found.file), creditOf(found)); });
const canPhotograph = Boolean(navigator.mediaDevices?.getUserMedia);
const chooserNode = element("div", {class: "look-chooser"}, element("div", {}, chooser.set, networks.node),
  element("div", {}, element("div", {class: "look-buttons"}, button("Choose a file", () => file.click()), button("Paste", paste), button("Draw", openDrawing),
    ...(canPhotograph ? [button("Camera", openCamera)] : []), file), credit), cropped, fault);

// Anywhere in the page: beside the figure, a browser would leave the page and open the file.
document.addEventListener("dragover", event => event.preventDefault());
document.addEventListener("drop", event => {
  event.preventDefault();
  const [dropped] = event.dataTransfer.files;
  if (dropped) takeFile(dropped);
  else tell(fault, "Nothing was dropped that is a file.");
});
document.addEventListener("paste", event => {
  const pasted = [...event.clipboardData.files][0];
  if (pasted) takeFile(pasted);
});

async function paste() {
  try {
    for (const item of await navigator.clipboard.read()) {
      const type = item.types.find(each => each.startsWith("image/"));
      if (type) { takeFile(await item.getType(type)); return; }
    }
    tell(fault, "There is no picture to paste; copy one first.");
  } catch {
    tell(fault, "The browser keeps the clipboard from this button; press Ctrl+V (or Cmd+V) in the page.");
  }
}

/** A dialogue that goes when it is closed. */
function openDialog(title, ...content) {
  const dialog = element("dialog", {class: "look-dialog", "aria-label": title, close: () => dialog.remove()}, element("h2", {class: "look-title"}, title), ...content);
  live.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Draw with mouse, finger or keys: white on black for digits, else black on white. */
function openDrawing() {
  const side = 280, canvas = element("canvas", {width: side, height: side, tabindex: 0, role: "img", class: "look-sheet",
    "aria-label": "Sheet to draw on. Arrow keys move the pen, the space bar sets it down or lifts it."});
  const context = canvas.getContext("2d"), [paper, ink] = data.digits ? ["#000", "#fff"] : ["#fff", "#000"];
  const colour = element("input", {type: "color", value: data.digits ? "#ffffff" : "#000000", "aria-label": "Colour of the pen"});
  const clear = () => { context.fillStyle = paper; context.fillRect(0, 0, side, side); };
  let pen = null, down = false;
  const line = (x, y) => {
    Object.assign(context, {strokeStyle: colour.value ?? ink, lineWidth: data.digits ? 30 : 12, lineCap: "round", lineJoin: "round"});
    context.beginPath();
    context.moveTo(...(pen ?? [x, y]));
    context.lineTo(x, y);
    context.stroke();
    pen = [x, y];
  };
  const place = event => { const box = canvas.getBoundingClientRect(); return [(event.clientX - box.left) * side / box.width, (event.clientY - box.top) * side / box.height]; };
  canvas.addEventListener("pointerdown", event => { canvas.setPointerCapture(event.pointerId); pen = null; down = true; line(...place(event)); });
  canvas.addEventListener("pointermove", event => { if (down && event.buttons) line(...place(event)); });
  canvas.addEventListener("pointerup", () => { down = false; pen = null; });
  const where = element("p", {role: "status"});
  canvas.addEventListener("keydown", event => {
    const step = {ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10]}[event.key];
    if (!step && event.key !== " ") return;
    event.preventDefault();
    pen ??= [side / 2, side / 2];
    if (step) {
      const to = pen.map((value, i) => Math.min(side - 10, Math.max(10, value + step[i])));
      if (down) line(...to);
      else pen = to;
    } else {
      down = !down;
      if (down) line(...pen);
    }
    tell(where, `Pen ${down ? "down" : "up"}, ${Math.round(pen[0])} from the left, ${Math.round(pen[1])} from the top.`);
  });
  clear();
  const dialog = openDialog("Draw a picture", canvas, where, element("div", {class: "look-buttons"}, element("label", {}, "Pen ", colour), button("Clear", clear),
    button("Use it", () => { take("own", Promise.resolve(fromDrawable(canvas, side, side)), "your own drawing"); dialog.close(); }), button("Cancel", () => dialog.close())));
}

async function openCamera() {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({video: {facingMode: "environment"}});
  } catch {
    tell(fault, "The browser gives this page no camera.");
    return;
  }
  const video = element("video", {autoplay: "", playsinline: "", muted: "", class: "look-sheet"});
  video.srcObject = stream;
  const shoot = button("Take it", () => { take("own", Promise.resolve(fromDrawable(video, video.videoWidth, video.videoHeight)), "your own picture, which stays on your machine"); dialog.close(); });
  shoot.disabled = true; // until there is something to take
  video.addEventListener("loadeddata", () => { shoot.disabled = false; });
  const dialog = openDialog("Take a picture", video, element("div", {class: "look-buttons"}, shoot, button("Cancel", () => dialog.close())));
  dialog.addEventListener("close", () => stream.getTracks().forEach(track => track.stop()));
}

// The page ------------------------------------------------------------------------------------

const guide = guideBar(go);
const views = [picturePanel(act), mapSaid(), mapsPanel(act), barsPanel(), lensPanel(act), weightPanel(), experimentPanel(act, networks.answered), guide];
const live = element("div", {class: "look-live"}, guide.node, chooserNode, element("div", {class: "look-views"}, ...views.slice(0, -1).map(({node}) => node)));
figure.querySelector(".look-static").before(live);
figure.classList.add("is-live");
show();
if (!recorded || state.image !== FIRST.image || state.erased.size) compute();
if (location.hash.includes("=")) figure.scrollIntoView();
addEventListener("hashchange", () => {
  if (!location.hash.includes("=")) return;
  const image = state.image;
  Object.assign(state, FIRST, readAddress());
  if (state.image !== image) networks.picture = null;
  show();
  compute();
});
