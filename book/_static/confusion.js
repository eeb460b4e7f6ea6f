// Confusion matrices: choose whose decisions and which images count; a cell opens its images.
// Without this script they are plain tables.
(() => {
  "use strict";
  const TILES = 60, NUMBERS = 100; // shown of one cell
  const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function enliven(holder, number) {
    const table = holder.querySelector("table"), data = JSON.parse(holder.querySelector("script").textContent);
    const labels = bytes(data.labels), decisions = data.decisions.map(bytes), K = data.classes.length;
    const pictures = new Map((data.places ?? []).map((place, at) => [place, at]));
    const right = run => place => decisions[run][place] === labels[place];
    const [a, b] = [right(0), right(1)], [first, second] = data.runs;
    const filters = [
      ["all images", () => true],
      [`only ${first} is right`, i => a(i) && !b(i)],
      [`only ${second} is right`, i => !a(i) && b(i)],
      ["both are wrong", i => !a(i) && !b(i)],
    ];
    const state = {run: 0, filter: 0, cell: [0, 0], shown: null, picked: false};
    const cells = [...table.tBodies[0].rows].map(row => [...row.cells].slice(1));
    const caption = element("p", {id: `confusion-${number}`}), opened = element("div", {class: "confusion-opened", "aria-live": "polite"});

    const where = () => (state.filter ? `where ${filters[state.filter][0]}` : "");
    const chosen = () => [...labels.keys()].filter(filters[state.filter][1]);

    function fill() {
      const counts = cells.map(row => row.map(() => 0)), sizes = Array(K).fill(0);
      labels.forEach(label => sizes[label]++);
      chosen().forEach(i => counts[labels[i]][decisions[state.run][i]]++);
      const largest = Math.max(...counts.flatMap((row, r) => row.map((n, c) => (r === c ? 0 : n / (sizes[r] || 1)))), 1e-9);
      cells.forEach((row, r) => row.forEach((cell, c) => {
        const n = counts[r][c], wrong = r !== c;
        cell.textContent = n;
        cell.setAttribute("aria-selected", false);
        cell.className = n ? (wrong ? "wrong" : "right") : "none";
        cell.style.setProperty("--share", wrong ? `${Math.round(40 * n / (sizes[r] || 1) / largest)}%` : "");
        cell.setAttribute("aria-label", `${n}: true class ${data.classes[r]}, decision ${data.classes[c]}`);
      }));
      caption.textContent = `Decisions of ${data.runs[state.run]}${where() && `, ${where()}`}: a row for each true class, `
        + "a column for each decision, numbers of images. A cell opens its images.";
    }

    function tile(i) {
      const says = decisions.map(run => data.classes[run[i]]);
      const words = `test image ${i}: ${first} says ${says[0]}, ${second} says ${says[1]}`;
      const at = pictures.get(i), image = element("span", {role: "img", "aria-label": words, title: words});
      if (at === undefined) image.textContent = i;
      else {
        const [x, y] = [at % data.columns, Math.floor(at / data.columns)];
        image.style.backgroundImage = `url(${data.sheet})`;
        image.style.backgroundSize = `${100 * data.columns}% auto`;
        image.style.backgroundPosition = `calc(${-x} * var(--tile)) calc(${-y} * var(--tile))`;
      }
      return element("li", {}, image, element("span", {"aria-hidden": "true"}, `${says[0]} | ${says[1]}`));
    }

    function open(r, c) {
      state.shown = [r, c];
      const own = chosen().filter(i => labels[i] === r && decisions[state.run][i] === c);
      const seen = own.filter(i => pictures.has(i)).slice(0, TILES), kept = new Set(seen);
      const rest = own.filter(i => !kept.has(i)), plural = own.length === 1 ? "" : "s";
      const list = element("ul", {}, ...seen.map(tile));
      const title = `${where() && `W${where().slice(1)}: `}${own.length} image${plural} of the true class `
        + `${data.classes[r]} that ${data.runs[state.run]} takes for ${data.classes[c]}.`;
      const some = seen.length && rest.length ? ` ${seen.length} of them are shown.` : "";
      const more = rest.length > NUMBERS ? ` and ${rest.length - NUMBERS} more` : "";
      opened.replaceChildren(
        element("p", {}, title + some + (seen.length ? ` Under each: what ${first} says | what ${second} says.` : "")),
        ...(seen.length ? [list] : []),
        ...(rest.length ? [element("p", {}, `By number in the test set: ${rest.slice(0, NUMBERS).join(", ")}${more}.`)] : []));
      cells.flat().forEach(cell => cell.setAttribute("aria-selected", cell === cells[r][c]));
    }

    function go(r, c) {
      cells[state.cell[0]][state.cell[1]].tabIndex = -1;
      state.cell = [Math.min(K - 1, Math.max(0, r)), Math.min(K - 1, Math.max(0, c))];
      const cell = cells[state.cell[0]][state.cell[1]];
      cell.tabIndex = 0;
      return cell;
    }

    function choice(title, options, change) {
      const set = element("fieldset", {}, element("legend", {}, title)), radios = [];
      options.forEach((label, value) => {
        const radio = element("input", {type: "radio", name: `confusion-${number}-${title}`, value});
        radio.checked = value === 0;
        radio.addEventListener("change", () => { change(value); fill(); if (state.shown) open(...state.shown); });
        radios.push(radio);
        set.append(element("label", {}, radio, ` ${label}`));
      });
      return [set, radios];
    }

    const count = filter => [...labels.keys()].filter(filter).length.toLocaleString("en");
    const [runs, runRadios] = choice("Decisions of", data.runs, value => { state.run = value; state.picked = true; });
    const [images] = choice("Count", filters.map(([name, filter]) => `${name} (${count(filter)})`), value => {
      state.filter = value;
      if (!state.picked && (value === 1 || value === 2)) { // whoever errs is the one to look at
        state.run = value === 1 ? 1 : 0;
        runRadios[state.run].checked = true;
      }
    });

    table.setAttribute("role", "grid");
    table.setAttribute("aria-labelledby", caption.id);
    table.caption.remove(); // as wide as the table, which scrolls
    cells.forEach((row, r) => row.forEach((cell, c) => {
      cell.setAttribute("role", "gridcell");
      cell.tabIndex = r || c ? -1 : 0;
      cell.addEventListener("click", () => { go(r, c).focus(); open(r, c); });
    }));
    table.addEventListener("keydown", event => {
      const [r, c] = state.cell;
      const to = {
        ArrowUp: [r - 1, c], ArrowDown: [r + 1, c], ArrowLeft: [r, c - 1], ArrowRight: [r, c + 1],
        Home: [event.ctrlKey ? 0 : r, 0], End: [event.ctrlKey ? K - 1 : r, K - 1],
      }[event.key];
      if (to) go(...to).focus();
      else if (event.key === "Enter" || event.key === " ") open(r, c);
      else return;
      event.preventDefault();
    });
    const box = element("div", {class: "confusion-box"});
    table.before(images, runs, caption, box);
    box.append(table);
    box.after(opened);
    holder.classList.add("is-live");
    fill();
  }

  const start = () => document.querySelectorAll(".confusion").forEach((holder, number) => {
    if (holder.querySelector("table") && holder.querySelector("script")) enliven(holder, number);
  });
  document.readyState === "loading" ? document.addEventListener("DOMContentLoaded", start) : start();
})();
