"use strict";

// Tables: a heading sorts its column by value, empty cells last; once more turns it round, a third time restores the order.

function valueOf(cell, numeric) {
  if (numeric) return cell.dataset.value === undefined || cell.dataset.value === "" ? null : Number(cell.dataset.value);
  return cell.textContent.trim() || null;
}

// Words by the alphabet, numbers among them by their value: ×2 before ×10, 0.004 before 0.01.

function compareWords(one, other) {
  const [a, b] = [one, other].map((text) => text.toLowerCase().split(/(\d+(?:\.\d+)?)/));
  for (let place = 0; place < Math.min(a.length, b.length); place++) {
    const apart = place % 2 ? a[place] - b[place] : a[place].localeCompare(b[place]);
    if (apart) return apart;
  }
  return a.length - b.length;
}

function sort(table, place, order, original) {
  const body = table.tBodies[0];
  const numeric = original.some((row) => row.cells[place].dataset.value !== undefined);
  const sign = order === "ascending" ? 1 : -1;
  const sorted = order === "none" ? original : [...original].sort((one, other) => {
    const [a, b] = [valueOf(one.cells[place], numeric), valueOf(other.cells[place], numeric)];
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (numeric ? a - b : compareWords(a, b));
  });
  body.append(...sorted);
}

for (const table of document.querySelectorAll("table.sortable")) {
  const original = [...table.tBodies[0].rows];
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
    const first = heading.classList.contains("n") ? "descending" : "ascending";
    const second = first === "ascending" ? "descending" : "ascending";
    button.addEventListener("click", () => {
      const now = heading.getAttribute("aria-sort");
      const next = now === "none" ? first : now === first ? second : "none";
      for (const other of headings) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
      heading.setAttribute("aria-sort", next);
      sort(table, place, next, original);
    });
  });
}

// A row stays that has all the words of the filter.

for (const field of document.querySelectorAll(".filter")) {
  const input = field.querySelector("input");
  const said = field.querySelector("[role=status]");
  const hint = said.textContent;
  const rows = [...document.getElementById(input.getAttribute("aria-controls")).tBodies[0].rows];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  field.hidden = false;
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    rows.forEach((row, place) => { row.hidden = !wanted.every((word) => texts[place].includes(word)); });
    const left = rows.filter((row) => !row.hidden).length;
    said.textContent = wanted.length ? `${left} of ${rows.length} rows` : hint;
  });
}

// Commands are copied; where the clipboard is not to be had, they are selected.

function plainButton(text, act) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "plain";
  button.textContent = text;
  button.addEventListener("click", () => act(button));
  return button;
}

for (const command of document.querySelectorAll(".command")) {
  const button = plainButton("Copy", async () => {
    try {
      await navigator.clipboard.writeText(command.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(command);
      button.textContent = "Selected: copy it with your keyboard";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  button.setAttribute("aria-live", "polite");
  command.after(button);
}

// A link to a command opens it, where the browser does not.

function open() {
  const aim = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const closed = aim && aim.closest("details:not([open])");
  if (closed) {
    closed.open = true;
    aim.scrollIntoView();
  }
}
addEventListener("hashchange", open);
open();

addEventListener("beforeprint", () => {
  for (const each of document.querySelectorAll("details")) each.open = true;
});

// Light or dark as the system has it, or turned round.

const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");
const scheme = () => root.style.colorScheme || (dark.matches ? "dark" : "light");
const other = () => (scheme() === "dark" ? "light" : "dark");
const turn = plainButton("", () => {
  root.style.colorScheme = other();
  label();
});
function label() { turn.textContent = other() === "dark" ? "Dark page" : "Light page"; }
label();
dark.addEventListener("change", label);
document.querySelector("nav ol").append(Object.assign(document.createElement("li"), {}));
document.querySelector("nav ol").lastElementChild.append(turn);

// The contents show where the reader is.

const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
const headings = [...document.querySelectorAll("main h2")];
const watch = new IntersectionObserver(() => {
  const passed = headings.filter((heading) => heading.getBoundingClientRect().top < innerHeight / 3);
  const here = passed.length ? passed[passed.length - 1].id : null;
  for (const [id, link] of links) {
    if (id === here) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}, { rootMargin: "0px 0px -66% 0px" });
for (const heading of headings) watch.observe(heading);
