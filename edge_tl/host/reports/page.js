// Sorts tables, copies commands. Without it the page has everything but these two. Asks for nothing.
"use strict";
const said = document.createElement("p");
said.className = "unseen";
said.setAttribute("role", "status");
document.querySelector("main").append(said);

// "1,234.5 [1,200, 1,300]" is 1234.5; a dash and words are none.
const figure = (text) => (/^[-+]?[\d,.]+/.test(text) ? parseFloat(text.replaceAll(",", "")) : NaN);
const compare = (a, b, down) => {
  const [x, y] = [figure(a), figure(b)];
  if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1; // no figure: last either way
  return (Number.isNaN(x) ? a.localeCompare(b, undefined, { numeric: true }) : x - y) * (down ? -1 : 1);
};
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, place) => {
    const button = document.createElement("button");
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      for (const each of headings) each.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => compare(a.cells[place].textContent, b.cells[place].textContent, down));
      table.tBodies[0].append(...rows);
      said.textContent = `Sorted by ${button.textContent}, ${down ? "largest" : "smallest"} first`;
    });
  });
}

for (const button of document.querySelectorAll("button.copy")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = button.parentElement.querySelector("code, pre");
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch {
      // No permission, or an old browser: by the selection.
      getSelection().selectAllChildren(source);
      document.execCommand("copy");
    }
    button.textContent = said.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
}

// Paper opens nothing: everything is open on it, and each word is explained once.
const opened = [], repeated = [];
addEventListener("beforeprint", () => {
  for (const each of document.querySelectorAll("details:not([open])")) {
    each.open = true;
    opened.push(each);
  }
  const known = new Set();
  for (const words of document.querySelectorAll(".words")) {
    const rows = [...words.querySelectorAll("dl > div")];
    const again = rows.filter((row) => known.has(row.textContent));
    for (const row of rows) known.add(row.textContent);
    repeated.push(...(again.length === rows.length ? [words] : again));
  }
  for (const each of repeated) each.hidden = true;
});
addEventListener("afterprint", () => {
  for (const each of opened.splice(0)) each.open = false;
  for (const each of repeated.splice(0)) each.hidden = false;
});
