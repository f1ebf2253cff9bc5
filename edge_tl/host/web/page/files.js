// The files of this folder, each held against the SHA-256 that edge-tl wrote down. It asks for nothing outside the folder.

const HERE = new URL("./", import.meta.url);

/** Whether this browser can hash: only pages of https or localhost can. */
export const CAN_HASH = Boolean(globalThis.crypto?.subtle);

/** The address of a path below this folder. */
export function addressOf(path) {
  return new URL(path.split("/").map(encodeURIComponent).join("/"), HERE).href;
}

/** The bytes of {path, sha256}. Throws Error for a file that is missing or not what edge-tl wrote. */
export async function load({path, sha256}) {
  const answer = await fetch(addressOf(path)).catch(() => null);
  if (!answer?.ok) throw new Error(`${path}: missing (${answer ? answer.status : "no answer"}). Copy the whole folder again.`);
  const bytes = new Uint8Array(await answer.arrayBuffer());
  if (CAN_HASH && (await digest(bytes)) !== sha256) {
    throw new Error(`${path}: damaged or altered since edge-tl wrote it. Copy the whole folder again.`);
  }
  return bytes;
}

/** What edge-tl wrote of this page: web.json, whose own hash is in the page. */
export async function loadRecord() {
  const sha256 = document.querySelector('meta[name="edge-tl-record"]').content;
  return JSON.parse(new TextDecoder().decode(await load({path: "web.json", sha256})));
}

async function digest(bytes) {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
