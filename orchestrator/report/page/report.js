"use strict";
// Everything that a reader learns is in the page without this script; it adds no text of its own
// to what was found, and texts of users are only ever set as text.
(() => {
  const details = JSON.parse(document.getElementById("details").textContent);
  const marks = [...document.querySelectorAll("svg [data-key]")];
  const rows = [...document.querySelectorAll("tr[data-key]")];
  const drawn = new Set(marks.map((mark) => mark.dataset.key));
  const MOST_ROWS = 20, SHOWN_ROWS = 10;

  function added(parent, tag, properties) {
    const element = Object.assign(document.createElement(tag), properties);
    parent.append(element);
    return element;
  }

  // A cell's texts as a button, which the keyboard reaches.
  function buttonOf(cell, pressed) {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.append(...cell.childNodes);
    button.addEventListener("click", pressed);
    cell.append(button);
    return button;
  }

  // ---- What is selected: its rows and marks are lit, other marks of these plots are dim.
  const foot = added(document.body, "div", { id: "selected", hidden: true });
  foot.setAttribute("role", "status");
  const footText = added(foot, "span", {});
  const toRow = added(foot, "button", { type: "button", textContent: "To its row" });
  const clear = added(foot, "button", { type: "button", textContent: "Clear" });
  let selected = null;

  function select(key, detail) {
    selected = key;
    const lit = marks.filter((mark) => mark.dataset.key === key);
    const plots = new Set(lit.map((mark) => mark.ownerSVGElement));
    for (const mark of marks) {
      const isLit = mark.dataset.key === key;
      mark.classList.toggle("lit", isLit);
      mark.classList.toggle("dim", !isLit && plots.has(mark.ownerSVGElement));
    }
    for (const row of rows) {
      row.classList.toggle("lit", row.dataset.key === key);
      row.querySelector("th button")?.setAttribute("aria-pressed", String(row.dataset.key === key));
    }
    foot.hidden = key === null;
    footText.textContent = key === null ? "" : textOf(detail ?? key).replaceAll("\n", " · ");
    toRow.hidden = !rows.some((row) => row.dataset.key === key);
  }

  function textOf(key) {
    return details[key] ?? "";
  }

  toRow.addEventListener("click", () => {
    const row = rows.find((each) => each.dataset.key === selected);
    unfold(row.closest("table"));
    row.scrollIntoView({ block: "center" });
    row.querySelector("th button")?.focus({ preventScroll: true });
  });
  clear.addEventListener("click", () => select(null));
  document.addEventListener("keydown", (event) => event.key === "Escape" && select(null));

  for (const row of rows.filter((each) => drawn.has(each.dataset.key))) {
    const toggle = () => select(selected === row.dataset.key ? null : row.dataset.key);
    row.classList.add("found");
    buttonOf(row.cells[0], (event) => { event.stopPropagation(); toggle(); });
    row.addEventListener("click", () => getSelection().isCollapsed && toggle());
  }
  for (const mark of marks) {
    mark.addEventListener("click", () => {
      const isSame = selected === mark.dataset.key && !mark.dataset.detail;
      select(isSame ? null : mark.dataset.key, mark.dataset.detail);
    });
    // A thin line is hard to hit.
    for (const path of mark.querySelectorAll(":scope > path")) {
      const reach = path.cloneNode();
      reach.removeAttribute("style");
      reach.setAttribute("class", "reach");
      mark.append(reach);
    }
  }

  // ---- The name of what is pointed at, with its parameters.
  const name = added(document.body, "div", { id: "name", hidden: true });
  for (const title of document.querySelectorAll("svg title")) title.remove();
  document.addEventListener("pointerover", (event) => {
    const mark = event.target.closest?.("svg [data-key]");
    const text = mark && event.pointerType !== "touch" ? textOf(mark.dataset.detail ?? mark.dataset.key) : "";
    name.hidden = !text;
    if (!text) return;
    name.textContent = text;
    const { width, height } = name.getBoundingClientRect();
    const below = event.clientY + 16 + height <= innerHeight;
    name.style.left = `${Math.max(4, Math.min(event.clientX + 12, innerWidth - width - 4))}px`;
    name.style.top = `${below ? event.clientY + 16 : Math.max(4, event.clientY - height - 12)}px`;
  });
  document.addEventListener("scroll", () => { name.hidden = true; }, true);

  // ---- Tables: sorted by a column, the third time as they were; long ones are folded.
  function numberOf(text) {
    const found = text.replaceAll("\u2212", "-").replaceAll(",", "")
      .match(/^([<>]?) ?([+-]?\d+(\.\d+)?(e[+-]?\d+)?)/);
    if (!found) return NaN;
    return Number(found[2]) * (found[1] === "<" ? 0.999 : 1);
  }

  function compared(here, there, isNumber) {
    if (!isNumber) return here.localeCompare(there, undefined, { numeric: true });
    const [a, b] = [numberOf(here), numberOf(there)];
    return a - b || 0;
  }

  function sort(table, place, direction) {
    const isNumber = table.tHead.rows[0].cells[place].classList.contains("right");
    const text = (row) => row.cells[place].textContent;
    const isMissing = (row) => isNumber && Number.isNaN(numberOf(text(row)));
    const sign = direction === "descending" ? -1 : 1;
    const sorted = direction === "none" ? table.written : [...table.written].sort((here, there) =>
      isMissing(here) - isMissing(there) || sign * compared(text(here), text(there), isNumber));
    table.tBodies[0].append(...sorted);
    fold(table);
  }

  function fold(table) {
    [...table.tBodies[0].rows].forEach((row, place) =>
      row.classList.toggle("folded", Boolean(table.isFolded) && place >= SHOWN_ROWS));
  }

  function unfold(table) {
    table.isFolded = false;
    table.unfoldButton?.remove();
    fold(table);
  }

  for (const table of document.querySelectorAll("table.sorts")) {
    table.written = [...table.tBodies[0].rows];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, place) => {
      const orders = head.classList.contains("right")
        ? ["descending", "ascending", "none"] : ["ascending", "descending", "none"];
      head.setAttribute("aria-sort", "none");
      buttonOf(head, () => {
        const next = orders[(orders.indexOf(head.getAttribute("aria-sort")) + 1) % 3];
        for (const other of heads) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", next);
        sort(table, place, next);
      });
    });
    if (table.written.length > MOST_ROWS) {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", className: "unfold",
        textContent: `Show all ${table.written.length} rows` });
      button.addEventListener("click", () => unfold(table));
      table.parentElement.after(button);
      Object.assign(table, { isFolded: true, unfoldButton: button });
      fold(table);
    }
  }
})();
