// The part of ONNX Runtime's C++ API that a snippet uses, with a model that answers with its input.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

enum OrtLoggingLevel { ORT_LOGGING_LEVEL_ERROR };
enum OrtAllocatorType { OrtArenaAllocator };
enum OrtMemType { OrtMemTypeDefault };

namespace Ort {
struct Env { Env(OrtLoggingLevel, const char*) {} };
struct MemoryInfo { static MemoryInfo CreateCpu(OrtAllocatorType, OrtMemType) { return {}; } };
struct SessionOptions { void AddConfigEntry(const char*, const char*) {} };
struct RunOptions { RunOptions(std::nullptr_t) {} };
struct AllocatorWithDefaultOptions {};
struct Shape {
    std::size_t count;
    std::size_t GetElementCount() const { return count; }
};
struct Value {
    std::vector<float> data;
    template <class T> static Value CreateTensor(const MemoryInfo&, T* first, std::size_t count, const std::int64_t*, std::size_t) {
        return {std::vector<float>(first, first + count)};
    }
    template <class T> const T* GetTensorData() const { return data.data(); }
    Shape GetTensorTypeAndShapeInfo() const { return {data.size()}; }
};
struct Name {
    const char* get() const { return "name"; }
};
struct Session {
    Session(std::nullptr_t) {}
    Session(const Env&, const char*, const SessionOptions&) {}
    Name GetInputNameAllocated(std::size_t, AllocatorWithDefaultOptions&) const { return {}; }
    Name GetOutputNameAllocated(std::size_t, AllocatorWithDefaultOptions&) const { return {}; }
    std::vector<Value> Run(const RunOptions&, const char* const*, const Value* input, std::size_t, const char* const*, std::size_t) {
        return {*input};
    }
};
}  // namespace Ort
