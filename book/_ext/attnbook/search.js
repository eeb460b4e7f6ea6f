// Before Sphinx's own search: accents, the order of results, and excerpts of a book on a disk.
const fold = (text) =>
  text.replace(/[đĐ]/g, (d) => (d === "đ" ? "d" : "D"))
    .replace(/[\u00c0-\u024f]/g, (letter) => letter.normalize("NFD")[0]); // as long as before

var Scorer = {
  score: ([page, , anchor, , score]) => {
    if (/^runs\/(index$|records\/|measurements)/.test(page)) return score / 100 - 1;
    return page === "glossary" && anchor.startsWith("#term-") ? Math.min(score, 4) : score;
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};

var splitQuery = (query) => fold(query).split(/[^\p{Letter}\p{Number}_]+/gu).filter((word) => word);

// Sphinx quotes from a page that it fetches. What it fetches waits for what is below; and from a disk,
// where nothing can be fetched, it gets the page's text from a script.
(() => {
  const AROUND = 120; // letters before the word that was found
  const onDisk = location.protocol === "file:";
  const root = document.documentElement.dataset.content_root, fetched = window.fetch;
  let texts;
  const ready = new Promise((done) => document.addEventListener("DOMContentLoaded", done));

  window.fetch = async (address, ...rest) => {
    await ready;
    if (!onDisk) return fetched(address, ...rest);
    texts ??= new Promise((known) => {
      const script = document.createElement("script");
      script.src = `${root}_static/search_texts.js`;
      script.onload = () => known(window.SEARCH_TEXTS);
      document.head.append(script);
    });
    const page = String(address).slice(root.length).replace(/\.html$/, "");
    return { text: async () => (await texts)[page] ?? "" };
  };

  ready.then(() => {
    if (typeof Search === "undefined") return;
    if (onDisk) Search.htmlToText = (text) => text;
    Search.makeSearchSummary = (html, words, anchor) => {
      const read = html.replace(/<details class="freshness[^]*?<\/details>/g, " "); // and its hashes
      const text = Search.htmlToText(read, anchor).replace(/\s+/g, " ").trim();
      if (!text) return null;
      const folded = fold(text).toLowerCase();
      const places = [...words].map((word) => folded.indexOf(word)).filter((place) => place >= 0);
      const start = Math.max(0, (places.length ? Math.min(...places) : 0) - AROUND);
      const end = start + 2 * AROUND, excerpt = document.createElement("p");
      excerpt.className = "context";
      excerpt.textContent = `${start ? "…" : ""}${text.slice(start, end).trim()}${end < text.length ? "…" : ""}`;
      return excerpt;
    };
  });
})();
