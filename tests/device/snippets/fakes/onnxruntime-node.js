// The part of onnxruntime-node that a snippet uses, with a model that answers with its input.
class Tensor {
  constructor(type, data, dims) {
    if (data.length !== dims.reduce((a, b) => a * b)) throw new Error(`${data.length} values for ${dims}`);
    Object.assign(this, { type, data, dims });
  }
}
const session = { inputNames: ['in'], outputNames: ['out'], run: async (feeds) => ({ out: feeds.in }) };
module.exports = { Tensor, InferenceSession: { create: async () => session } };
