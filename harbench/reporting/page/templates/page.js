"use strict";
const one = selector => document.querySelector(selector), all = selector => [...document.querySelectorAll(selector)];

/* Filters: words in the row or its table's title, kind of row, values of protocol columns. */
const form = one(".tools"), words = one("#words"), kind = one("#kind"), count = one("#count"), reset = one("[type=reset]");
const filters = all("[data-filter]"), boards = all(".board");
const rows = boards.flatMap(board => {
  const title = board.querySelector("caption").textContent;
  const columns = new Map([...board.querySelectorAll("th[data-part]")].map(head => [head.dataset.part, head.cellIndex]));
  return [...board.querySelectorAll("tbody tr[data-row]")].map(row => ({
    row, text: `${title} ${row.textContent}`.toLowerCase(),
    part: name => name === "training" ? board.dataset.training : columns.has(name) ? row.cells[columns.get(name)].textContent : "unknown",
  }));
});
function ofKind(row) {
  return !kind.value || (kind.value === "ranked" ? !row.classList.contains("unranked") : row.classList.contains(kind.value));
}
function filter() {
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  const parts = filters.filter(each => each.value).map(each => [each.dataset.filter, each.value]);
  let shown = 0;
  for (const {row, text, part} of rows) {
    row.hidden = !(ofKind(row) && wanted.every(word => text.includes(word)) && parts.every(([name, value]) => part(name) === value));
    if (!row.hidden) shown++;
  }
  boards.forEach(limit);
  for (const body of all(".board tbody")) body.hidden = !body.querySelector("tr[data-row]:not([hidden])");
  for (const board of boards) board.hidden = !board.querySelector("tbody:not([hidden])");
  for (const section of all("main > section")) section.hidden = !section.querySelector(".board:not([hidden])");
  const filtered = wanted.length || kind.value || parts.length;
  count.textContent = filtered ? `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows` : `${rows.length.toLocaleString("en")} rows`;
  reset.hidden = !filtered;
  if (filters.length) one("#chosen").textContent = parts.length ? ` (${parts.length})` : "";
}
/* A long table shows its first rows until asked for all: sorting and filtering stay quick. */
const FIRST = Number(one("main").dataset.firstRows);
function limit(board) {
  const found = [...board.querySelectorAll("tr[data-row]:not([hidden])")], whole = board.classList.contains("whole");
  found.forEach((row, index) => row.classList.toggle("beyond", !whole && index >= FIRST));
  const more = board.querySelector(".more");
  more.hidden = whole || found.length <= FIRST;
  more.textContent = `Show all ${found.length.toLocaleString("en")} rows`;
}
/* Of the protocol the columns that people read first stay; the others unfold. */
const KEPT = ["modality", "pretraining", "views", "selection"];
const folds = document.head.appendChild(document.createElement("style")).sheet;
for (const board of boards) {
  const folded = [...board.querySelectorAll("th[data-part]")].filter(head => !KEPT.includes(head.dataset.part));
  if (!folded.length) continue;
  const cells = folded.map(head => `.board:not(.unfolded) #${CSS.escape(board.querySelector("table").id)} tr:not(.group) > :nth-child(${head.cellIndex + 1})`);
  folds.insertRule(`${cells.join()} { display: none }`);
  board.querySelector(".columns").hidden = false;
}
form.addEventListener("input", filter);
form.addEventListener("submit", event => event.preventDefault());
form.addEventListener("reset", () => { setTimeout(filter); words.focus(); });
const choices = one(".choices");
document.addEventListener("keydown", event => {
  if (event.key === "Escape" && choices?.open) { choices.open = false; choices.querySelector("summary").focus(); }
});
document.addEventListener("click", event => {
  if (choices?.open && !choices.contains(event.target)) choices.open = false;
});

/* Sorting: within each part of a table; what has no value stays last. */
const collator = new Intl.Collator("en", {numeric: true});
function sort(button) {
  const head = button.closest("th"), column = head.cellIndex, order = button.dataset.sort;
  const first = order === "down" ? "descending" : "ascending", second = order === "down" ? "ascending" : "descending";
  const now = head.ariaSort === first ? second : first, sign = now === "ascending" ? 1 : -1;
  for (const each of head.parentElement.cells) each.ariaSort = "none";
  head.ariaSort = now;
  const text = row => row.cells[column].textContent.trim();
  const number = row => { const found = parseFloat(text(row) || row.cells[column].dataset.value); return isNaN(found) ? null : found; };
  for (const body of head.closest("table").tBodies) {
    const keyed = [...body.rows].filter(row => !row.matches(".group")).map(row => [order === "text" ? text(row) : number(row), row]);
    keyed.sort(([a], [b]) => order === "text" ? sign * collator.compare(a, b)
      : a === null || b === null ? (a === null) - (b === null) : sign * (a - b));
    body.append(...keyed.map(([, row]) => row));
  }
  const board = head.closest(".board");
  if (board) limit(board);
}

/* A run's panel: its address is #run/<folder>, so it can be linked to, and Back closes it. */
const panel = one("#panel"), panelBody = one("#panel-body");
function follow() {
  const name = decodeURIComponent(location.hash.slice(1));
  const template = name.startsWith("run/") ? document.getElementById(name) : null;
  if (!template) { if (panel.open) panel.close(); return; }
  panelBody.replaceChildren(template.content.cloneNode(true));
  for (const link of panelBody.querySelectorAll(".siblings a")) {
    if (!document.getElementById(decodeURIComponent(link.hash.slice(1)))) { link.removeAttribute("href"); link.title = "not in this page"; }
  }
  if (!panel.open) panel.showModal();
  panel.scrollTop = 0;
  one("#panel-title").focus();
}
let opener = null;
panel.addEventListener("close", () => {
  if (location.hash.startsWith("#run/")) history.replaceState(null, "", location.pathname + location.search);
  panelBody.replaceChildren();
  opener?.focus();
});
addEventListener("hashchange", follow);

document.addEventListener("click", event => {
  const target = event.target, button = target.closest("[data-sort]"), point = target.closest("[data-point]");
  if (button) sort(button);
  else if (target.closest(".close") || target === panel) panel.close();
  else if (target.matches(".columns")) target.ariaPressed = target.closest(".board").classList.toggle("unfolded");
  else if (target.matches(".more")) { target.closest(".board").classList.add("whole"); limit(target.closest(".board")); }
  else if (point) mark(point);
  else if (target.closest("a")) { if (target.closest("a.name")) opener = target.closest("a.name"); }
  else if (target.closest("tr.opens") && !getSelection().toString()) target.closest("tr.opens").querySelector("a.name").click();
});
function mark(point) {
  const row = point.closest(".board").querySelector(`tr[data-row="${point.dataset.point}"]`);
  for (const each of all("tr.marked")) each.classList.remove("marked");
  row.classList.add("marked");
  row.classList.remove("beyond");
  row.scrollIntoView({block: "center"});
}

filter();
follow();
