"use strict";
// What networks answer: probabilities as bars with their numbers, and one sentence.

/** A table with a column for each of the transformer's readings and one for the teacher, of at most `most` classes. */
function barsTable(readings, most) {
  const body = element("tbody", {}), columns = [...readings, "teacher"];
  const node = element("table", {class: "look-bars plain"}, element("caption", {class: "look-hidden"}, `Probabilities by ${STUDENT} and by its teacher, ${TEACHER}`),
    element("thead", {}, element("tr", {}, element("th", {scope: "col"}, "class"), ...columns.map(name => element("th", {scope: "col"}, name)))), body);
  const toShares = all => all.map(logits => logits && probabilities(logits));
  return {
    node,
    /** Logits of each column, null where they are not known yet; a line marks what was said `before`. */
    show(logits, before) {
      const judges = toShares(logits), old = before && toShares(before), best = judges.map(shares => shares && largest(shares));
      const top = label => Math.max(...[...judges, ...(old ?? [])].map(shares => shares?.[label] ?? 0)), order = [...CLASSES.keys()];
      if (CLASSES.length > most) order.sort((a, b) => top(b) - top(a)).splice(most);
      body.replaceChildren(...order.map(label => element("tr", {}, element("th", {scope: "row"}, CLASSES[label]), ...judges.map((shares, judge) => {
        if (!shares) return element("td", {}, "\u2026");
        const bar = element("span", {class: `look-bar ${judge < readings.length ? "is-student" : "is-teacher"}`, "aria-hidden": "true"}, element("span", {}));
        bar.firstChild.style.width = `${100 * shares[label]}%`;
        if (old?.[judge]) bar.append(Object.assign(element("i", {}), {style: `left: ${100 * old[judge][label]}%`}));
        return element("td", {class: best[judge] === label ? "is-best" : null}, bar, element("span", {class: "look-number"}, percent(shares[label])));
      }))));
    },
  };
}

/** Both networks' first answers in words. */
function answerSentence({erased, logits, teacher}) {
  const said = all => { const shares = probabilities(all), best = largest(shares); return `${CLASSES[best]}, ${percent(shares[best])}`; };
  return `${erased.size ? `With ${erased.size} of ${PATCHES} patches erased, ` : ""}${STUDENT} says ${said(logits)}; `
    + `its teacher, ${TEACHER}, ${teacher ? `says ${said(teacher)}` : "has not answered yet"}.`;
}
