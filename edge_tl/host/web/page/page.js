// The page: what a person chooses, drops and reads. Everything that is shown is set as text, never as HTML: labels are
// anybody's.

import {decode, frame, undecodable} from "./decode.js";
import {CAN_HASH, loadRecord} from "./files.js";
import {measure} from "./latency.js";
import {THREADS, lacksWebgpu, openModel, softmax, top1} from "./model.js";
import {normalize, pixels} from "./preprocess.js";
import {loadGoldens, verify} from "./verify.js";

const $ = (id) => document.getElementById(id);
const TOP = 5;
const now = {record: null, goldens: null, artifact: null, model: null, result: null, camera: null, busy: false};

function show(state, text) {
  document.body.dataset.state = state;
  $("status").textContent = text;
}

function element(tag, text, className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function enable(on) {
  for (const id of ["artifact", "provider", "file", "measure", "save"]) $(id).disabled = !on;
  $("camera").disabled = !on || !navigator.mediaDevices?.getUserMedia;
  $("choose").classList.toggle("off", !on);
}

async function begin() {
  const record = now.record = await loadRecord();
  document.title = `${record.name} · edge-tl`;
  $("name").textContent = record.name;
  const n = record.labels.length;
  $("about").textContent = `An image classifier with ${n} ${n === 1 ? "label" : "labels"}, running in this browser. Nothing leaves it.`;
  $("versions").textContent = `Written by edge-tl ${record.edge_tl}, with ${record.runtime.package} ${record.runtime.version}`
    + ` (${record.runtime.license}). Bundle ${(record.bundle_seal ?? "without a seal").slice(0, 12)}.`;
  for (const {id} of record.artifacts) $("artifact").append(new Option(id, id, false, id === record.opened));
  await offerWebgpu(record);
  if (!navigator.mediaDevices?.getUserMedia) $("camera").textContent = "No camera: it needs https or localhost";
  now.goldens = await loadGoldens(record);
  await open();
}

async function offerWebgpu(record) {
  if (!record.runtime.providers.some((one) => one.name === "webgpu")) return;
  const lacks = await lacksWebgpu();
  const option = new Option(lacks ? `WebGPU (${lacks})` : "WebGPU", "webgpu");
  option.disabled = Boolean(lacks);
  $("provider").append(option);
}

/** Load what is chosen, and verify it. */
async function open() {
  const {record} = now;
  enable(false);
  stopCamera();
  clear();
  const artifact = now.artifact = record.artifacts.find(({id}) => id === $("artifact").value);
  const provider = $("provider").value;
  $("exported").textContent = measuredAtExport(artifact);
  show("loading", `Loading ${artifact.id} …`);
  await now.model?.close();
  now.model = null;
  const started = performance.now();
  now.model = await openModel(record, artifact, provider);
  const load_ms = performance.now() - started;
  const threads = `${THREADS} ${THREADS === 1 ? "thread" : "threads"}`;
  $("runs").textContent = provider === "webgpu" ? "what WebGPU lacks runs in WebAssembly"
    : THREADS > 1 || globalThis.crossOriginIsolated ? threads : `${threads}: the page is not cross-origin isolated`;
  const checked = await verify(record, now.goldens, artifact, now.model, (done, of) =>
    show("loading", `Verifying ${artifact.id}: golden image ${done + 1} of ${of} …`));
  now.result = {
    bundle: {name: record.name, seal: record.bundle_seal ?? null}, artifact: artifact.id, provider, threads: THREADS,
    runtime: `${record.runtime.package} ${record.runtime.version}`, browser: navigator.userAgent, hashes_checked: CAN_HASH,
    load_ms, ...checked, latency: null,
  };
  showGates(checked, artifact);
  enable(true);
}

function clear() {
  now.result = null;
  for (const id of ["answer", "spent", "latency", "runs"]) $(id).textContent = "";
  for (const id of ["bars", "gates", "reasons", "images", "images-unjudged"]) $(id).replaceChildren();
  $("images-details").hidden = true;
}

function showGates({passed, gates, images}, artifact) {
  const digits = {"levels of 255": 0, logit: 4, agreement: 3};
  $("gates").replaceChildren(...gates.map((gate) => {
    const row = document.createElement("tr");
    const name = element("th", gate.gate);
    name.scope = "row";
    name.append(element("small", gate.unit));
    const number = (value) => (value === null ? "–" : value.toFixed(digits[gate.unit]));
    row.append(name, element("td", gate.passed ? "✓ yes" : "✗ no", gate.passed ? "yes" : "no"),
      element("td", number(gate.measured), "n"),
      element("td", `${gate.unit === "agreement" ? "≥" : "≤"} ${number(gate.limit)}`, "n"));
    return row;
  }));
  const notes = gates.map((gate) => `${gate.gate}: ${gate.reason}.`);
  if (!CAN_HASH) notes.push("The files’ hashes were not checked: browsers hash only on https or localhost.");
  if (artifact.requires?.length) {
    notes.push(`${artifact.id} was proven only on CPUs with ${artifact.requires.join(" or ")}; WebAssembly is another one.`);
  }
  if (artifact.failed) notes.push(artifact.failed);
  $("reasons").replaceChildren(...notes.map((note) => element("li", note)));
  $("images").replaceChildren(...images.map((image) => {
    const row = document.createElement("tr");
    const left = image.unjudged ?? image.fault;
    row.append(element("td", image.path.split("/").at(-1)),
      left === undefined ? element("td", String(image.levels), "n") : element("td", image.unjudged ? "not judged" : left, "n"),
      element("td", image.logits.toFixed(4), "n"),
      element("td", image.agrees ? "same" : "another", image.agrees ? "" : "no"));
    return row;
  }));
  $("images-unjudged").replaceChildren(...unjudged(images).map((reason) => element("li", reason)));
  $("images-details").hidden = false;
  const failed = gates.filter((gate) => !gate.passed).map((gate) => gate.gate);
  show(passed ? "passed" : "failed", passed
    ? `Verified: ${artifact.id} gives the answers here that it was exported with.`
    : `Failed: ${failed.join(", ")}. Do not trust the answers of ${artifact.id} here.`);
}

/** Each reason why images are not judged, once, and how many they are. */
function unjudged(images) {
  const count = new Map();
  for (const {unjudged: reason} of images) if (reason) count.set(reason, (count.get(reason) ?? 0) + 1);
  return [...count].map(([reason, n]) => `${n} not judged: ${reason}`);
}

/** What the export measured of an artifact, on the host. */
function measuredAtExport({accuracy, drop_pp: drop, drop_ci_pp: interval}) {
  if (accuracy == null) return "";
  const points = (value) => (value < 0 ? "−" : "") + Math.abs(value).toFixed(2);
  const fallen = drop == null ? "" : `; drop against PyTorch ${points(drop)} percentage points`
    + (interval ? ` (95 % interval ${points(interval[0])} to ${points(interval[1])})` : "");
  return `Accuracy at export ${(100 * accuracy).toFixed(2)} %${fallen}.`;
}

/** {probabilities, spent} of upright RGB, and the picture as the model sees it. */
async function classify(image, decode_ms) {
  const start = performance.now();
  const seen = pixels(image, now.record.preprocess);
  const planes = normalize(seen.data, now.record.preprocess);
  const prepared = performance.now();
  const logits = await now.model.run(planes);
  const ended = performance.now();
  const probabilities = softmax(logits);
  if (!probabilities.every(Number.isFinite)) throw new Error("the model answers with no numbers");
  draw(seen);
  const spent = [["decode", decode_ms], ["preprocess", prepared - start], ["model", ended - prepared]];
  showAnswer(probabilities, spent.map(([what, ms]) => `${what} ${ms.toFixed(1)} ms`).join(" · "));
}

function draw({data, width, height}) {
  const canvas = $("seen");
  canvas.width = width;
  canvas.height = height;
  const rgba = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) rgba.data[4 * i + c] = data[3 * i + c];
    rgba.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(rgba, 0, 0);
  canvas.hidden = false;
  $("hint").hidden = true;
}

function showAnswer(probabilities, spent) {
  const {labels} = now.record;
  const percent = (p) => `${(100 * p).toFixed(1)} %`;
  const order = probabilities.map((p, i) => [p, i]).sort((a, b) => b[0] - a[0]).slice(0, TOP);
  const best = top1(probabilities);
  if (!now.camera) say(`${labels[best]}, ${percent(probabilities[best])}`); // a live answer would be read all the time
  $("bars").replaceChildren(...order.map(([p, i]) => {
    const row = document.createElement("li");
    const track = element("span", "", "track");
    const bar = element("span", "", "bar");
    bar.style.width = `${100 * p}%`;
    track.append(bar);
    row.append(element("span", labels[i], "label"), element("span", percent(p), "share"), track);
    return row;
  }));
  $("spent").textContent = spent;
}

function say(text, bad = false) {
  $("answer").textContent = text;
  $("answer").classList.toggle("bad", bad);
  if (bad) {
    $("bars").replaceChildren();
    $("spent").textContent = "";
    $("seen").hidden = true;
    $("hint").hidden = false;
  }
}

async function picture(file) {
  if (!file || !now.model || now.busy) return;
  stopCamera();
  now.busy = true;
  try {
    const bytes = new Uint8Array(await file.arrayBuffer());
    const start = performance.now();
    const image = await decode(bytes);
    await classify(image, performance.now() - start);
    const unfit = undecodable(bytes);
    if (unfit) $("spent").textContent += ` · ${unfit.reason}`;
  } catch (error) {
    say(`${file.name}: ${error.message}`, true);
  } finally {
    now.busy = false;
  }
}

async function useCamera() {
  if (now.camera) return stopCamera();
  try {
    const stream = await navigator.mediaDevices.getUserMedia({video: {facingMode: "environment"}, audio: false});
    now.camera = stream;
  } catch (error) {
    return say(`The camera cannot be used: ${error.message}`, true);
  }
  const stream = now.camera;
  $("camera").textContent = "Stop the camera";
  $("answer").textContent = "";
  const video = $("video");
  video.srcObject = stream;
  try {
    await video.play();
    while (now.camera === stream && now.model) {
      const start = performance.now();
      if (video.videoWidth && !now.busy) {
        const image = frame(video);
        await classify(image, performance.now() - start);
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  } catch (error) {
    stopCamera();
    say(error.message, true);
  }
}

function stopCamera() {
  for (const track of now.camera?.getTracks() ?? []) track.stop();
  if (now.camera) $("camera").textContent = "Use the camera";
  now.camera = null;
  $("video").srcObject = null;
}

async function timing() {
  stopCamera();
  enable(false);
  now.busy = true;
  $("latency").textContent = "measuring …";
  try {
    const [height, width] = now.record.preprocess.crop ?? now.record.preprocess.resize_size;
    const planes = normalize(now.goldens.levels.subarray(0, 3 * height * width), now.record.preprocess);
    const found = now.result.latency = await measure(() => now.model.run(planes), {
      progress: (n) => { $("latency").textContent = `measuring … ${n} samples`; },
    });
    const ms = (value) => value.toFixed(2);
    const [low, high] = found.median_ci_ms;
    const p90 = found.p90_ms === null ? `p90 –: a call is too short for this browser’s clock` : `p90 ${ms(found.p90_ms)} ms`;
    $("latency").textContent = `median ${ms(found.median_ms)} ms (95 % interval ${ms(low)} to ${ms(high)}), ${p90}, n = ${found.n}`
      + `${found.batch > 1 ? ` means of ${found.batch} calls` : ""}, after ${found.warm_up} calls of warm-up. The clock’s step is ${found.step_ms.toPrecision(1)} ms.`;
  } catch (error) {
    $("latency").textContent = `not measured: ${error.message}`;
  } finally {
    now.busy = false;
    enable(true);
  }
}

function save() {
  const text = JSON.stringify(now.result, (_, value) => (value === Infinity ? null : value), 1);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "application/json"}));
  link.download = `verify-web-${now.artifact.id}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function failed(error) {
  show("error", error?.message ?? String(error));
  if (!now.record) return;
  $("artifact").disabled = $("provider").disabled = false; // another one may work
}

$("artifact").addEventListener("change", () => open().catch(failed));
$("provider").addEventListener("change", () => open().catch(failed));
$("file").addEventListener("change", (event) => {
  picture(event.target.files[0]);
  event.target.value = ""; // the same file may be chosen again
});
$("camera").addEventListener("click", useCamera);
$("measure").addEventListener("click", timing);
$("save").addEventListener("click", save);
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
}
for (const kind of ["dragleave", "drop"]) document.addEventListener(kind, () => $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  picture(event.dataTransfer.files[0]);
});

begin().catch(failed);
