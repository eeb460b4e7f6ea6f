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
  let last = null;
  grid.addEventListener("pointerdown", event => {
    last = under(event);
    if (last !== null) use(last, true);
  });
  grid.addEventListener("pointermove", event => {
    const patch = event.buttons ? under(event) : null;
    if (patch === null || patch === last) return;
    last = patch;
    use(patch, false);
  });
  grid.addEventListener("keydown", event => {
    const from = cells.indexOf(event.target);
    const steps = {ArrowRight: 1, ArrowLeft: -1, ArrowDown: COLUMNS, ArrowUp: -COLUMNS, Home: -(from % COLUMNS), End: COLUMNS - 1 - from % COLUMNS};
    if (event.key === " " || event.key === "Enter") use(from, true);
    else if (event.key in steps) {
      const to = from + steps[event.key], sideways = Math.abs(steps[event.key]) === 1;
      if (to >= 0 && to < PATCHES && (!sideways || Math.floor(to / COLUMNS) === Math.floor(from / COLUMNS))) {
        cells[from].tabIndex = -1;
        cells[to].tabIndex = 0;
        cells[to].focus();
      }
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

/** A stroke that erases what is there, or puts back what is not, as its first patch does. */
function erasingStroke(act) {
  let on = null;
  return (patch, first, erased) => {
    if (first) on = !erased.has(patch);
    act({erase: patch, on});
  };
}
