// Plain tables of the book: sort by any column, filter the rows, copy as CSV or LaTeX, scroll in
// their own box. Without this script they are still tables.
(() => {
  "use strict";
  const ROWS_TO_FILTER = 8;
  const CARDS_TO_SHORTEN = 5, ROWS_TO_SHORTEN = 24; // 4 cards or 12 rows of more are shown: see tables.css
  const NUMBER = /^[<>≈~≤≥]?\s*([-+−]?(?:\d[\d,]*)?\.?\d+(?:e[-+]?\d+)?)\s*([%×]|[a-zµ][\w µ·/.]*)?\s*([[(±,;].*|to .*)?$/i;
  const UNITS = {ns: 1e-9, "µs": 1e-6, ms: 1e-3, min: 60, h: 3600, kB: 1e3, KiB: 1024, MB: 1e6, MiB: 2 ** 20, GB: 1e9, GiB: 2 ** 30, M: 1e6, G: 1e9};
  const PURE_NUMBER = /^[-+−]?(?=\.?\d)(?:\d{1,3}(?:,\d{3})+|\d*)(?:\.\d*)?(?:e[-+−]?\d+)?$/i;
  const LINE = "\u0000", FORMULA = "\u0001"; // between the lines of a cell, around its TeX

  /** What a cell says, open to the eye or not: without boxes, in lines, with the TeX of formulas. */
  function marked(cell) {
    const copied = cell.cloneNode(true);
    for (const math of copied.querySelectorAll("math")) {
      const tex = math.getAttribute("alttext") || math.querySelector("annotation[encoding*=tex i]")?.textContent;
      const letters = [...math.querySelectorAll("mi, mn, mo, mtext")].map(letter => letter.textContent).join(" ");
      math.replaceWith(tex?.trim() ? FORMULA + tex.trim() + FORMULA : letters);
    }
    copied.querySelectorAll(".number-facts, .headerlink, script, style, [hidden]").forEach(box => box.remove());
    copied.querySelectorAll("br").forEach(end => end.replaceWith(LINE));
    copied.querySelectorAll("p, div, li, dt, dd, pre, blockquote").forEach(block => {
      block.before(LINE);
      block.after(LINE);
    });
    const lines = copied.textContent.split(LINE).map(line => line.replace(/\s+/g, " ").trim());
    return lines.filter(Boolean).join("; ");
  }

  const text = cell => (cell ? marked(cell).replaceAll(FORMULA, "$") : "");

  /** The number a cell begins with, in its unit; NaN if it is not a number. */
  function value(cell) {
    const found = NUMBER.exec(cell.dataset.value ?? text(cell));
    if (!found || /^\d{4}-\d\d/.test(text(cell))) return NaN; // a date is text
    return Number(found[1].replace(/,/g, "").replace("−", "-")) * (UNITS[found[2]?.trim()] ?? 1);
  }

  const read = cell => ({n: value(cell), t: text(cell)});
  const blank = key => Number.isNaN(key.n) && /^[-–—−]?$/.test(key.t);

  /** Whether most of the cells that say anything are numbers. */
  function numbers(keys) {
    const filled = keys.filter(key => !blank(key));
    return filled.filter(key => !Number.isNaN(key.n)).length * 2 > filled.length;
  }

  /** One row of headings: pandas puts the index's name into a second one. */
  function headings(table) {
    const [first, second] = table.tHead.rows;
    if (second && text(second.cells[0]) && ![...second.cells].slice(1).some(text) && !text(first.cells[0])) {
      first.cells[0].textContent = text(second.cells[0]);
      second.remove();
    }
    if (table.tHead.rows.length !== 1) return null;
    for (const cell of [...first.cells].filter(cell => cell.matches("td"))) { // empty until now
      cell.replaceWith(element("th", {}, ...cell.childNodes));
    }
    return [...first.cells];
  }

  function sort(table, heads, column) {
    const head = heads[column], down = head.getAttribute("aria-sort") === "ascending";
    const body = table.tBodies[0], rows = [...body.rows];
    const keys = new Map(rows.map(row => [row, read(row.cells[column])]));
    const numeric = numbers([...keys.values()]);
    const missing = key => (blank(key) ? 2 : Number(numeric && Number.isNaN(key.n))); // last, in either direction
    rows.sort((a, b) => {
      const [p, q] = [keys.get(a), keys.get(b)];
      if (missing(p) || missing(q)) return missing(p) - missing(q);
      const order = numeric ? p.n - q.n : p.t.localeCompare(q.t, "en", {numeric: true});
      return down ? -order : order;
    });
    body.append(...rows);
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
  }

  const shown = (table, write) => [...table.rows].filter(row => !row.hidden).map(row => [...row.cells].map(write));

  function csv(table) {
    const plain = cell => (PURE_NUMBER.test(cell) ? cell.replace(/,/g, "").replace(/−/g, "-") : cell);
    const quote = cell => (/[",\n]/.test(cell) ? `"${cell.replace(/"/g, '""')}"` : cell);
    return shown(table, cell => quote(plain(text(cell)))).map(row => row.join(",")).join("\n") + "\n";
  }

  function latex(table) {
    const marks = {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "−": "$-$", "±": "$\\pm$", "×": "$\\times$"};
    const escape = part => part.replace(/[\\~^−±×]|[&%$#_{}]/g, mark => marks[mark] ?? `\\${mark}`);
    const write = cell => marked(cell).replace(/^-(?=\.?\d)/, "−").split(FORMULA)
      .map((part, i) => (i % 2 ? `$${part}$` : escape(part))).join("");
    const [head, ...rows] = shown(table, write).map(row => row.join(" & ") + " \\\\");
    const body = [...table.tBodies[0].rows], columns = [...(body[0]?.cells ?? [])].keys();
    const letters = [...columns].map(i => (numbers(body.map(row => read(row.cells[i]))) ? "r" : "l")).join("");
    return ["\\begin{tabular}{" + letters + "}", "\\hline", head, "\\hline", ...rows, "\\hline", "\\end{tabular}"].join("\n") + "\n";
  }

  async function copy(content) {
    try {
      await navigator.clipboard.writeText(content);
    } catch { // no permission: the old way
      const area = document.body.appendChild(document.createElement("textarea"));
      area.value = content;
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  }

  function element(name, properties, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  }

  function name(table) {
    if (table.caption) return text(table.caption);
    const section = table.closest("section");
    const heading = section?.querySelector("h1, h2, h3, h4")?.firstChild?.textContent.trim();
    const tables = [...(section ?? document).querySelectorAll("table")];
    return `Table ${tables.indexOf(table) + 1}${heading ? ` of “${heading}”` : ""}`;
  }

  function tools(table, label) {
    const status = element("span", {className: "table-status"});
    status.setAttribute("role", "status");
    const bar = element("div", {className: "table-tools"});
    bar.setAttribute("role", "group");
    bar.setAttribute("aria-label", `${label}: tools`);
    const rows = [...table.tBodies[0].rows];
    if (rows.length > ROWS_TO_FILTER) {
      const field = element("input", {type: "search", autocomplete: "off", spellcheck: false});
      let contents;
      field.addEventListener("input", () => {
        contents ??= rows.map(row => [...row.cells].map(text).join(" ").toLowerCase());
        const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
        rows.forEach((row, i) => { row.hidden = !words.every(word => contents[i].includes(word)); });
        status.textContent = `${rows.filter(row => !row.hidden).length} of ${rows.length} rows`;
      });
      bar.append(element("label", {}, "Filter ", field));
    }
    const kinds = element("span", {className: "table-copy"}, "Copy as ");
    for (const [kind, write] of [["CSV", csv], ["LaTeX", latex]]) {
      const button = element("button", {type: "button", textContent: kind});
      button.setAttribute("aria-label", `Copy as ${kind}`);
      button.addEventListener("click", async () => {
        await copy(write(table));
        button.focus();
        status.textContent = `Copied ${shown(table, text).length - 1} rows as ${kind}`;
      });
      kinds.append(button);
    }
    bar.append(kinds, status);
    return bar;
  }

  function box(table, label) {
    let around = table.parentElement;
    if (!around.matches(".pst-scrollable-table-container")) {
      around = element("div", {});
      table.replaceWith(around);
      around.append(table);
    }
    around.classList.add("table-scroll");
    const watch = new ResizeObserver(() => { // only what scrolls is a stop of the Tab key
      const scrolls = around.scrollWidth > around.clientWidth + 1;
      for (const [key, set] of [["tabindex", "0"], ["role", "region"], ["aria-label", label]]) {
        scrolls ? around.setAttribute(key, set) : around.removeAttribute(key);
      }
    });
    watch.observe(around);
    watch.observe(table);
    return around;
  }

  /** On a phone each row is a card, where every value says what it is. */
  function asCards(table, heads) {
    table.classList.add("cards");
    const titles = heads.map(text);
    for (const row of table.tBodies[0].rows) {
      [...row.cells].forEach((cell, column) => { if (text(cell)) cell.dataset.label = titles[column]; });
    }
  }

  /** The first of many rows stand for all, until all are asked for, filtered or led to. */
  function shorten(table, around) {
    const rows = table.tBodies[0].rows.length;
    if (rows <= (table.matches(".cards") ? CARDS_TO_SHORTEN : ROWS_TO_SHORTEN)) return;
    table.classList.toggle("long", rows > ROWS_TO_SHORTEN);
    const button = element("button", {type: "button", className: "table-all", textContent: `Show all ${rows} rows`});
    const open = () => { table.classList.remove("short"); button.remove(); };
    const lead = () => { if (location.hash && table.querySelector(`[id="${CSS.escape(location.hash.slice(1))}"]`)) open(); };
    table.classList.add("short");
    button.addEventListener("click", open);
    around.after(button);
    around.previousElementSibling?.querySelector("input")?.addEventListener("input", open);
    window.addEventListener("hashchange", lead);
    lead();
  }

  function equip(table) {
    if (!table.tHead || table.tBodies.length !== 1 || table.querySelector("table")) return;
    const label = name(table), around = box(table, label), heads = headings(table);
    const plain = [...table.tBodies[0].rows].every(row => row.cells.length === heads?.length);
    if (table.tBodies[0].rows.length < 2 || !plain || table.querySelector("[rowspan], [colspan]")) return;
    const wide = heads.length > 3 || heads.length > 2 && [...table.tBodies[0].rows].some(row => text(row).length > 40);
    if (wide && table.matches(".notebook-table, .thesis-table")) asCards(table, heads);
    heads.forEach((head, column) => {
      const title = text(head) || "name of the row";
      const button = element("button", {type: "button", className: "table-sort"});
      if (!text(head) || head.querySelector("a, button, [tabindex]")) {
        button.setAttribute("aria-label", `Sort by ${title}`);
        head.append(button);
      } else {
        button.append(...(head.querySelector(":scope > p") ?? head).childNodes);
        head.replaceChildren(button);
      }
      head.scope = "col";
      button.addEventListener("click", () => sort(table, heads, column));
    });
    around.before(tools(table, label));
    if (table.matches(".notebook-table, .thesis-table")) shorten(table, around);
  }

  function start() {
    const chosen = "article table:not(.linked-confusion, .highlighttable, .footnote, .citation, .plain, [role])";
    document.querySelectorAll(chosen).forEach(equip);
  }
  document.readyState === "loading" ? document.addEventListener("DOMContentLoaded", start) : start();
})();
