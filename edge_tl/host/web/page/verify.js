// The gates of edge-tl in this browser: are its pixels and its logits those that the model was exported with?
//   pixels   this browser's decoder and preprocess.js      against the stored pixels
//   device   this browser's logits on the stored pixels    against the host's, same file
//   loss     the same logits                               against PyTorch's answers
// The limits are the bundle's. It draws nothing.

import {decode, undecodable} from "./decode.js";
import {load} from "./files.js";
import {top1} from "./model.js";
import {normalize, pixels} from "./preprocess.js";

/** {levels: Uint8Array of every image, logits: {name: Float32Array}} as they were stored at export. Throws Error. */
export async function loadGoldens(record) {
  const {golden} = record;
  const levels = await load(golden.pixels);
  const logits = {};
  for (const {name, file} of golden.logits) logits[name] = new Float32Array((await load(file)).buffer);
  return {levels, logits};
}

/** {passed, gates[], images[]}; `progress(done, of)` is called between images. */
export async function verify(record, goldens, artifact, model, progress) {
  const images = record.golden.images;
  const size = goldens.levels.length / images.length;
  const classes = record.labels.length;
  const rows = [];
  for (const [i, file] of images.entries()) {
    progress(i, images.length);
    const stored = goldens.levels.subarray(i * size, (i + 1) * size);
    const row = (all) => all.subarray(i * classes, (i + 1) * classes);
    const seen = await compared(record, file, stored);
    const logits = await model.run(normalize(stored, record.preprocess));
    rows.push({
      path: file.path, ...seen, ...logitsCompared(logits, row(goldens.logits[artifact.id])),
      agrees: top1(logits) === top1(row(goldens.logits.pytorch)),
    });
    await new Promise((resolve) => setTimeout(resolve)); // the page stays alive
  }
  const gates = [pixelsGate(rows, record), deviceGate(rows, artifact), lossGate(rows, artifact)];
  return {passed: gates.every((gate) => gate.passed), gates, images: rows};
}

/** {levels}: the largest difference from the stored pixels; or {unjudged} or {fault}, why there is none. */
async function compared(record, file, stored) {
  const bytes = await load(file);
  const unfit = undecodable(bytes);
  if (unfit) return {unjudged: unfit.reason};
  let own;
  try {
    own = pixels(await decode(bytes), record.preprocess).data;
  } catch (error) {
    return /transparent/.test(error.message) ? {unjudged: error.message} : {fault: error.message};
  }
  if (own.length !== stored.length) return {fault: "another size than at export"};
  return {levels: own.reduce((most, value, i) => Math.max(most, Math.abs(value - stored[i])), 0)};
}

function logitsCompared(logits, host) {
  if (logits.length !== host.length) return {logits: Infinity, flipped: true};
  const apart = logits.reduce((most, value, i) => {
    const difference = Math.abs(value - host[i]);
    return Number.isFinite(difference) ? Math.max(most, difference) : Infinity;
  }, 0);
  return {logits: apart, flipped: top1(logits) !== top1(host)};
}

function pixelsGate(rows, {pixel_limit_levels: limit}) {
  const judged = rows.filter((row) => row.unjudged === undefined);
  const bad = judged.find((row) => row.fault !== undefined);
  const gate = {gate: "pixels", measured: null, limit, unit: "levels of 255", passed: false};
  if (bad) return {...gate, reason: `${name(bad)}: ${bad.fault}`};
  if (!judged.length) return {...gate, reason: "none of the golden images can be decoded by a browser"};
  const worst = judged.reduce((a, b) => (b.levels > a.levels ? b : a));
  const passed = worst.levels <= limit;
  const left = rows.length - judged.length;
  const reason = passed
    ? `the same pixels as at export, on ${judged.length} images` + (left ? `; ${left} not judged, see below` : "")
    : `${name(worst)} decodes or resizes differently here: the browser's decoder or the contract is not the host's`;
  return {...gate, measured: worst.levels, passed, reason};
}

function deviceGate(rows, artifact) {
  const limit = artifact.limits.device_max_abs_diff;
  const measured = Math.max(...rows.map((row) => row.logits));
  const changed = `${rows.filter((row) => row.flipped).length} of ${rows.length} answers changed`;
  const passed = measured <= limit;
  const reason = passed
    ? `the host's logits, ${changed}`
    : `this browser computes other logits from the same file and pixels (${changed}): its kernels differ`;
  return {gate: "device", measured, limit, unit: "logit", passed, reason};
}

function lossGate(rows, artifact) {
  const limit = artifact.limits.golden_agreement;
  const measured = rows.filter((row) => row.agrees).length / rows.length;
  // A record holds the limit as a rounded fraction of as many images.
  const passed = measured >= limit - 1e-9 && rows.every((row) => Number.isFinite(row.logits));
  const reason = passed
    ? `PyTorch's answers on ${rows.filter((row) => row.agrees).length} of ${rows.length} golden images`
    : "other answers than PyTorch's: export or quantization changed the model, or the device gate's fault";
  return {gate: "loss", measured, limit, unit: "agreement", passed, reason};
}

const name = (row) => row.path.split("/").at(-1);
