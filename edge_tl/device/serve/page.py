"""The page at `/`: drop a picture, see its labels. One file without any request but to this service."""

PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>edge-tl</title>
<style>
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 40rem; margin: 2rem auto; padding: 0 1rem }
#drop { display: block; border: 2px dashed; border-radius: .5rem; padding: 2rem 1rem; text-align: center }
#drop:focus-within, #drop.over { outline: 3px solid #2a78d6; outline-offset: 2px }
#drop input { position: absolute; opacity: 0; width: 1px }
figure { margin: 1.5rem 0 }
img { max-width: 100%; max-height: 20rem; display: block }
table { border-collapse: collapse; width: 100% }
td { padding: .2rem .5rem .2rem 0; overflow-wrap: anywhere }
td:last-child { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
details { margin: 1rem 0 }
footer { margin-top: 2rem; font-size: .9rem }
</style>
<h1>edge-tl</h1>
<label id="drop"><input id="file" type="file" accept="image/*" multiple>Drop pictures here, or choose some.</label>
<details><summary>API key</summary><input id="key" type="password" aria-label="API key" autocomplete="off"></details>
<div id="answers" aria-live="polite"></div>
<footer id="about"></footer>
<script>
"use strict";
const at = id => document.getElementById(id);
const add = (parent, name, text) => {
  const made = parent.appendChild(document.createElement(name));
  if (text !== undefined) made.textContent = text;
  return made;
};
async function classify(file) {
  const figure = document.createElement("figure");
  at("answers").prepend(figure);
  const picture = add(figure, "img");
  picture.alt = file.name;
  picture.src = URL.createObjectURL(file);
  picture.onload = () => URL.revokeObjectURL(picture.src);
  picture.onerror = () => { URL.revokeObjectURL(picture.src); picture.remove(); };  // no picture, or none it can show
  const said = add(figure, "figcaption", file.name + ": …");
  try {
    const form = new FormData();
    form.append("file", file);
    const key = at("key").value;
    const answer = await fetch("predict", { method: "POST", body: form, headers: key ? { "X-API-Key": key } : {} });
    const found = await answer.json();
    const one = (found.results || [])[0];
    if (!one) throw Error(found.failed ? found.failed[0].reason : found.detail);
    said.textContent = file.name;
    const table = add(figure, "table");
    for (const score of one.top) {
      const row = add(table, "tr");
      add(row, "td", score.label);
      add(row, "td", (100 * score.probability).toFixed(1) + " %");
    }
    if (one.remark) add(figure, "p", one.remark);
  } catch (error) {
    said.textContent = file.name + ": " + error.message;
  }
}
async function all(files) { for (const file of files) await classify(file); }
at("file").addEventListener("change", event => all([...event.target.files]));
for (const name of ["dragover", "dragleave", "drop"])
  document.addEventListener(name, event => {
    event.preventDefault();
    at("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") all([...event.dataTransfer.files]);
  });
fetch("healthz").then(answer => answer.json()).then(found => {
  at("about").textContent = "Answered by " + found.artifact + " on " + found.device + ". Its interface: /openapi.json.";
});
</script>
</html>
"""
