// An artifact on onnxruntime-web: float32 planes in, logits out. It knows no image and times nothing.

import {CAN_HASH, addressOf, load} from "./files.js";

/** Threads that WebAssembly may use: more than one needs cross-origin isolation. */
export const THREADS = globalThis.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 8) : 1;

/** Null where this browser has WebGPU, else why not. */
export async function lacksWebgpu() {
  if (!globalThis.isSecureContext) return "it needs https or localhost";
  if (!navigator.gpu) return "this browser has none";
  return (await navigator.gpu.requestAdapter().catch(() => null)) ? null : "no adapter on this machine";
}

/** {run(planes) -> Promise<Float32Array>, close(), hashed} of an artifact on "wasm" or "webgpu". Throws Error. */
export async function openModel(record, artifact, provider) {
  const runtime = record.runtime.providers.find((one) => one.name === provider);
  const [bytes, wasm] = await Promise.all([
    load(artifact.file),
    load(runtime.files.find((file) => file.path.endsWith(".wasm"))),
    ...runtime.files.filter((file) => !file.path.endsWith(".wasm")).map(load),
  ]);
  const ort = await import(addressOf(runtime.entry));
  ort.env.wasm.wasmPaths = addressOf("ort") + "/";
  ort.env.wasm.wasmBinary = wasm.buffer;
  ort.env.wasm.numThreads = THREADS;
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(bytes, {executionProviders: [provider], logSeverityLevel: 3});
  const [input] = session.inputNames;
  const output = session.outputNames.includes("logits") ? "logits" : session.outputNames[0];
  const [height, width] = record.preprocess.crop ?? record.preprocess.resize_size;
  return {
    hashed: CAN_HASH,
    async run(planes) {
      const tensor = new ort.Tensor("float32", planes, [1, 3, height, width]);
      const answers = await session.run({[input]: tensor}, [output]);
      const logits = Float32Array.from(await answers[output].getData());
      answers[output].dispose();
      return logits;
    },
    close: () => session.release(),
  };
}

/** Probabilities of logits. */
export function softmax(logits) {
  const top = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp(logit - top));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

/** The place of the largest; the first of several. */
export function top1(values) {
  return values.indexOf(Math.max(...values));
}
