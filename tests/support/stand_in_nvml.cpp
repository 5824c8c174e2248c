// A stand-in for the driver's libnvidia-ml.so.1, so that pynvml's own code runs without a GPU.
// One device of 8 GiB, found by UUID or bus id. The environment says what goes wrong:
//   NVML_INIT      the code nvmlInit returns (9: driver not loaded, 18: version mismatch)
//   NVML_UUID      the device's UUID
//   NVML_LOST      after so many memory queries the device is lost (15)
//   NVML_PROCESSES "own" or "others": whose processes there are; none by default

#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

namespace {

constexpr int kSuccess = 0, kNotFound = 6, kInsufficientSize = 7, kLost = 15;
constexpr unsigned long long kMiB = 1 << 20;

int device;
unsigned long long queries = 0;

struct Memory {
  unsigned long long total, free, used;
};
struct Process {
  unsigned pid;
  unsigned long long used;
  unsigned gpu_instance, compute_instance;
};

std::string setting(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value ? value : otherwise;
}

int number(const char* name) { return std::atoi(setting(name, "0").c_str()); }

}  // namespace

extern "C" {

int nvmlInitWithFlags(unsigned) { return number("NVML_INIT"); }

int nvmlShutdown() { return kSuccess; }

const char* nvmlErrorString(int code) {
  return code == kLost ? "GPU is lost" : code == kNotFound ? "Not Found" : "Driver Not Loaded";
}

int nvmlDeviceGetHandleByUUID(const char* uuid, void** found) {
  *found = &device;
  return uuid == setting("NVML_UUID", "GPU-1") ? kSuccess : kNotFound;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char* bus, void** found) {
  *found = &device;
  return std::string(bus) == "00000000:65:00.0" ? kSuccess : kNotFound;
}

int nvmlDeviceGetName(void*, char* name, unsigned size) {
  std::strncpy(name, "Stand-in 8000", size);
  return kSuccess;
}

int nvmlSystemGetDriverVersion(char* version, unsigned size) {
  std::strncpy(version, "123.45", size);
  return kSuccess;
}

int nvmlDeviceGetCount_v2(unsigned* count) { return *count = 1, kSuccess; }

int nvmlDeviceGetHandleByIndex_v2(unsigned, void** handle) {
  return *handle = &device, kSuccess;
}

int nvmlDeviceGetMemoryInfo(void*, Memory* memory) {
  const unsigned long long lost = number("NVML_LOST");
  if (lost && queries >= lost) return kLost;
  *memory = {8192 * kMiB, 7000 * kMiB, (1000 + ++queries) * kMiB};
  return kSuccess;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void*, unsigned* count, Process* processes) {
  const std::string whose = setting("NVML_PROCESSES", "");
  if (whose.empty()) return *count = 0, kSuccess;
  if (*count < 2) return *count = 2, kInsufficientSize;
  *count = 2;
  processes[0] = {whose == "own" ? static_cast<unsigned>(getpid()) : 1u, 600 * kMiB, 0, 0};
  processes[1] = {2u, 300 * kMiB, 0, 0};
  return kSuccess;
}
}
