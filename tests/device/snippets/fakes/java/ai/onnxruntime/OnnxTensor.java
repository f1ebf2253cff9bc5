package ai.onnxruntime;

import java.nio.ByteBuffer;
import java.nio.FloatBuffer;

public class OnnxTensor implements OnnxValue {
    FloatBuffer data;

    public static OnnxTensor createTensor(OrtEnvironment environment, FloatBuffer data, long[] shape) throws OrtException {
        OnnxTensor tensor = new OnnxTensor();
        tensor.data = data;
        return tensor;
    }

    public static OnnxTensor createTensor(OrtEnvironment environment, ByteBuffer data, long[] shape, OnnxJavaType type)
            throws OrtException {
        OnnxTensor tensor = new OnnxTensor();
        tensor.data = FloatBuffer.allocate(data.remaining());
        while (data.hasRemaining()) tensor.data.put(data.get() & 0xFF);
        tensor.data.rewind();
        return tensor;
    }

    public FloatBuffer getFloatBuffer() {
        return data.duplicate();
    }

    @Override
    public void close() {}
}
