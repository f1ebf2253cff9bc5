// An encoded image to upright 8-bit RGB, by the browser's own decoders, or why they cannot give Pillow's pixels.
// It neither resizes nor normalizes.

const text = (bytes, at, n) => String.fromCharCode(...bytes.subarray(at, at + n));
const NEEDS_PILLOW = "browsers do not give the pixels that Pillow gives";

/** {data: Uint8Array, RGB, width, height} of encoded bytes. Throws Error that says what the browser cannot read. */
export async function decode(bytes) {
  const unfit = undecodable(bytes);
  if (unfit?.never) throw new Error(unfit.reason);
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes]), {
      premultiplyAlpha: "none", colorSpaceConversion: "none", imageOrientation: "from-image",
    });
  } catch {
    throw new Error("this browser cannot decode it as an image");
  }
  try {
    const drawn = read2d(bitmap, bitmap.width, bitmap.height);
    // The canvas multiplies colours with alpha, and what is transparent has lost them.
    return rgb(isOpaque(drawn) ? drawn : readPlain(bitmap), bitmap.width, bitmap.height);
  } finally {
    bitmap.close();
  }
}

/** The same of a video's frame. */
export function frame(video) {
  const {videoWidth: width, videoHeight: height} = video;
  return rgb(read2d(video, width, height), width, height);
}

/** Null, or {reason, never}: why a browser's pixels are not Pillow's, and whether there are none at all. */
export function undecodable(bytes) {
  const start = text(bytes, 0, 12);
  const never = (kind) => ({reason: `${kind}: browsers do not decode it`, never: true});
  if (start.startsWith("II*\0") || start.startsWith("MM\0*")) return never("TIFF");
  if (start.startsWith("8BPS")) return never("PSD");
  if (/^P[1-7]\s/.test(start)) return never("PPM");
  if (start.startsWith("qoif")) return never("QOI");
  if (start.slice(4, 8) === "jP  " || start.startsWith("\xff\x4f\xff\x51")) return never("JPEG 2000");
  if (start.slice(4, 8) === "ftyp" && !/avi[fs]/.test(start)) return {reason: `HEIC: ${NEEDS_PILLOW}`, never: false};
  if (start.startsWith("\x89PNG") && bytes[24] === 16) { // edge-tl looks at which of the two bytes hold the picture
    return {reason: `16 bits a channel: ${NEEDS_PILLOW}`, never: false};
  }
  if (start.startsWith("\xff\xd8") && jpegComponents(bytes) === 4) {
    return {reason: `CMYK: ${NEEDS_PILLOW}`, never: false};
  }
  return null;
}

/** How many colour components a JPEG's frame has; 0 where none is found. */
function jpegComponents(bytes) {
  for (let at = 2; at + 9 < bytes.length && bytes[at] === 0xff;) {
    const marker = bytes[at + 1];
    if (marker === 0xff) { at++; continue; }
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) return bytes[at + 9];
    at += 2 + ((bytes[at + 2] << 8) | bytes[at + 3]);
  }
  return 0;
}

function read2d(source, width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", {willReadFrequently: true, colorSpace: "srgb"});
  if (!context) throw new Error(`${width} x ${height} pixels are too many for this browser`);
  context.drawImage(source, 0, 0);
  return context.getImageData(0, 0, width, height).data;
}

function isOpaque(rgba) {
  for (let i = 3; i < rgba.length; i += 4) if (rgba[i] !== 255) return false;
  return true;
}

/** RGBA whose colours were not multiplied with alpha: Pillow drops alpha, so what is transparent keeps its colour. */
function readPlain(bitmap) {
  const {width, height} = bitmap;
  const gl = document.createElement("canvas").getContext("webgl");
  if (!gl || Math.max(width, height) > gl.getParameter(gl.MAX_TEXTURE_SIZE)) {
    throw new Error("it is transparent in places, whose colours this browser does not give (it needs WebGL)");
  }
  gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, gl.getParameter(gl.TEXTURE_BINDING_2D), 0);
  const rgba = new Uint8Array(width * height * 4);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, rgba);
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return rgba;
}

function rgb(rgba, width, height) {
  const data = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; to < data.length; from += 4, to += 3) {
    data[to] = rgba[from];
    data[to + 1] = rgba[from + 1];
    data[to + 2] = rgba[from + 2];
  }
  return {data, width, height};
}
