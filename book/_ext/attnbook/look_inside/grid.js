"use strict";
// The patches of a picture as a grid of cells, for mouse, finger and keys.

/**
 * Cells over a canvas; `use(patch, first)` is called for each one that is touched, `first` at the
 * start of a stroke. `mark(patch => marks)` shows marks, {class: [whether, words]}, on all cells.
 */
function patchGrid(canvas, use) {
  const grid = element("div", {role: "grid", class: "look-grid", "aria-label": "Patches of the picture"});
  grid.style.gridTemplateColumns = `repeat(${COLUMNS}, 1fr)`;
  const cells = Array.from({length: PATCHES}, () => element("div", {role: "gridcell", tabindex: -1}));
  cells[0].tabIndex = 0;
  for (let row = 0; row < ROWS; row++) grid.append(element("div", {role: "row"}, ...cells.slice(row * COLUMNS, (row + 1) * COLUMNS)));

  const under = ({clientX, clientY}) => {
    const {left, top, width, height} = grid.getBoundingClientRect();
    const [row, column] = [Math.floor((clientY - top) / height * ROWS), Math.floor((clientX - left) / width * COLUMNS)];
    return row >= 0 && row < ROWS && column >= 0 && column < COLUMNS ? row * COLUMNS + column : null;
  };
  // A stroke: a mouse begins it at once; a finger that only scrolls the page over the picture never does.
  let last = null, touched = null;
  const begin = event => {
    touched = null;
    last = under(event);
    if (last !== null) use(last, true);
  };
  grid.addEventListener("pointerdown", event => {
    if (event.button !== 0) return;
    if (event.pointerType === "touch") touched = event;
    else begin(event);
  });
  grid.addEventListener("pointermove", event => {
    if (!(event.buttons & 1)) return;
    if (touched) {
      const [across, down] = [event.clientX - touched.clientX, event.clientY - touched.clientY].map(Math.abs);
      if (Math.max(across, down) < 6 || (across < down && canScroll())) return;
      begin(touched);
    }
    const patch = under(event);
    if (patch === null || patch === last) return;
    for (const each of last === null ? [patch] : between(last, patch)) use(each, false);
    last = patch;
  });
  grid.addEventListener("pointerup", () => { if (touched) begin(touched); });
  grid.addEventListener("pointercancel", () => { touched = null; });
  const canScroll = () => getComputedStyle(grid.parentNode).touchAction !== "none";

  grid.addEventListener("focusin", event => { for (const cell of cells) cell.tabIndex = cell === event.target ? 0 : -1; });
  grid.addEventListener("keydown", event => {
    const from = cells.indexOf(event.target);
    const steps = {ArrowRight: 1, ArrowLeft: -1, ArrowDown: COLUMNS, ArrowUp: -COLUMNS, Home: -(from % COLUMNS), End: COLUMNS - 1 - from % COLUMNS};
    if (event.key === " " || event.key === "Enter") use(from, true);
    else if (event.key in steps) {
      const to = from + steps[event.key], sideways = Math.abs(steps[event.key]) === 1;
      if (to >= 0 && to < PATCHES && (!sideways || Math.floor(to / COLUMNS) === Math.floor(from / COLUMNS))) cells[to].focus();
    } else return;
    event.preventDefault();
  });

  return {
    node: element("div", {class: "look-stage"}, canvas, grid),
    mark(marksOf) {
      cells.forEach((cell, patch) => {
        const marks = marksOf(patch);
        for (const [mark, [on]] of Object.entries(marks)) cell.classList.toggle(mark, on);
        const words = Object.values(marks).filter(([on]) => on).map(([, said]) => said);
        cell.setAttribute("aria-label", [`row ${Math.floor(patch / COLUMNS) + 1}, column ${patch % COLUMNS + 1}`, ...words].join(", "));
        cell.setAttribute("aria-selected", cell.classList.contains("is-asked"));
      });
    },
  };
}

/** The patches on the straight way from one to another, without the first: a quick stroke leaves none out. */
function between(from, to) {
  const [row, column] = [Math.floor(from / COLUMNS), from % COLUMNS], [down, across] = [Math.floor(to / COLUMNS) - row, to % COLUMNS - column];
  const steps = Math.max(Math.abs(down), Math.abs(across));
  return Array.from({length: steps}, (_, i) => (row + Math.round(down * (i + 1) / steps)) * COLUMNS + column + Math.round(across * (i + 1) / steps));
}

/** A stroke that erases what is there, or puts back what is not, as its first patch does. */
function erasingStroke(act) {
  let on = null;
  return (patch, first, erased) => {
    if (first) on = !erased.has(patch);
    act({erase: patch, on});
  };
}
